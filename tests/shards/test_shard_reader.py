"""Reading sets: by key and as a stream, in threads and processes, and never half a sample."""

from __future__ import annotations

import multiprocessing
import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from avsep.errors import CheckError
from avsep.shards import tar
from avsep.shards.cache import ByteCache
from avsep.shards.reader import ShardStore, open_shards


@pytest.fixture(scope="module")
def sets(tmp_path_factory, make_set):
    """One set of each storage, and the samples they were made of."""
    directories = {s: tmp_path_factory.mktemp(s) for s in ("compact", "plain")}
    samples = [make_set(d, s, shards=(3, 2, 1)) for s, d in directories.items()]
    return directories, samples[0]


class Lengths:
    """A map-style dataset over a store, for DataLoader workers."""

    def __init__(self, store: ShardStore) -> None:
        self.store = store

    def __len__(self) -> int:
        return len(self.store)

    def __getitem__(self, number: int) -> tuple[str, int, int, int]:
        key = self.store.index[number].key
        points = self.store.landmarks(key).points
        return key, len(self.store.audio(key)), len(self.store.lips(key)), len(points)


def lengths_of(samples):
    return [(s.key, 640 * s.num_frames, s.num_frames, s.num_frames) for s in samples]


def read_all(store: ShardStore) -> int:
    """The sum of all sound, which only the right bytes give."""
    return sum(int(store.audio(row.key).astype(np.int64).sum()) for row in store.index)


@pytest.mark.parametrize("storage", ["compact", "plain"])
class TestShardStore:
    def test_gives_each_sample_by_key(self, sets, storage):
        directories, samples = sets
        store = ShardStore(directories[storage])
        assert [row.key for row in store.index] == [sample.key for sample in samples]
        for sample in samples:
            assert sample.key in store
            np.testing.assert_array_equal(store.audio(sample.key), sample.audio)
            np.testing.assert_array_equal(
                store.landmarks(sample.key).points, sample.landmarks.points
            )
            difference = store.lips(sample.key).astype(int) - sample.lips
            assert np.abs(difference).mean() < (2 if storage == "compact" else 1e-9)
            assert store.meta(sample.key) == sample.meta
            assert store.row(sample.key).speaker == sample.meta["speaker"]

    def test_second_read_comes_from_memory(self, sets, storage):
        store = ShardStore(sets[0][storage])
        key = store.index[0].key
        for read in (store.audio, store.lips, store.landmarks):
            assert read(key) is read(key)

    def test_cached_arrays_cannot_be_changed(self, sets, storage):
        store = ShardStore(sets[0][storage])
        key = store.index[0].key
        for array in (store.audio(key), store.lips(key), store.landmarks(key).points):
            with pytest.raises(ValueError, match="read-only"):
                array[0] = 0


@pytest.mark.slow
def test_works_in_spawned_loader_workers(sets):
    from torch.utils.data import DataLoader

    directories, samples = sets
    loader = DataLoader(
        Lengths(ShardStore(directories["plain"])),
        batch_size=None,
        num_workers=1,
        multiprocessing_context="spawn",
    )
    assert [tuple(item) for item in loader] == lengths_of(samples)


def test_works_in_forked_processes_and_threads(sets):
    directories, samples = sets
    store = ShardStore(directories["compact"], cache_bytes=200_000)
    expected = sum(int(s.audio.astype(np.int64).sum()) for s in samples)
    assert read_all(store) == expected
    with multiprocessing.get_context("fork").Pool(2) as pool:
        assert pool.map(read_all, [store] * 4) == [expected] * 4
    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(read_all, [store] * 12)) == [expected] * 12


def test_pickled_store_opens_again_and_is_small(sets):
    store = ShardStore(sets[0]["plain"])
    store.lips(store.index[0].key)
    content = pickle.dumps(store)
    assert len(content) < 1000
    assert [row.key for row in pickle.loads(content).index] == [row.key for row in store.index]


@pytest.mark.slow
def test_plain_needs_neither_av_nor_soundfile_nor_webdataset(sets):
    script = """
import sys
for name in ("av", "soundfile", "webdataset", "cv2", "safetensors", "matplotlib", "prefect", "dvc"):
    sys.modules[name] = None
from avsep.shards.reader import ShardStore
store = ShardStore(sys.argv[1])
key = store.index[0].key
print(store.sample(key).num_frames)
"""
    answer = subprocess.run(
        [sys.executable, "-c", script, str(sets[0]["plain"])],
        capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    assert answer.stdout.strip() == "6"


class TestDamage:
    @pytest.fixture
    def directory(self, tmp_path, make_set):
        make_set(tmp_path, "compact")
        return tmp_path

    def test_a_cut_shard_is_refused_at_once(self, directory):
        path = directory / "train-000001.tar"
        path.write_bytes(path.read_bytes()[: tar.scan(path)[2].offset - 512])
        with pytest.raises(CheckError, match=r"train-000001.tar has \d+ bytes"):
            ShardStore(directory)
        with pytest.raises(CheckError, match=r"train-000001.tar has \d+ bytes"):
            open_shards(directory)

    def test_a_missing_shard_is_refused_at_once(self, directory):
        (directory / "train-000001.tar").unlink()
        with pytest.raises(CheckError, match=r"train-000001\.tar is missing"):
            ShardStore(directory)

    def test_half_a_sample_of_the_same_size_never_comes_out(self, directory):
        path = directory / "train-000000.tar"
        size = path.stat().st_size
        files = [(f"{m.key}.{m.suffix}", tar.read(path, m)) for m in tar.scan(path)]
        tar.write(path, files[:-1])
        path.write_bytes(path.read_bytes().ljust(size, b"\0"))
        with pytest.raises(CheckError, match=r"train-000000.tar: .*(lmk.npz|end mark)"):
            list(open_shards(directory))
        store = ShardStore(directory)
        with pytest.raises(CheckError, match=r"train-000000.tar"):
            store.audio(store.index[0].key)

    def test_another_sample_in_its_place_never_comes_out(self, directory):
        path = directory / "train-000000.tar"
        files = [(f"{m.key}.{m.suffix}", tar.read(path, m)) for m in tar.scan(path)]
        tar.write(
            path,
            [(n.replace("-00-", "-09-"), c.replace(b"p-00-", b"p-09-")) for n, c in files[:4]]
            + files[4:],
        )
        with pytest.raises(CheckError, match="its samples are not those of the manifest"):
            list(open_shards(directory))
        with pytest.raises(CheckError, match=r"does not match the index"):
            ShardStore(directory).audio("clip-00-t0")

    @pytest.mark.parametrize(("storage", "suffix"), [("compact", "flac"), ("plain", "wav")])
    def test_changed_sound_is_noticed(self, tmp_path, make_set, storage, suffix):
        make_set(tmp_path, storage)
        path = tmp_path / "train-000000.tar"
        sound = next(m for m in tar.scan(path) if m.suffix == suffix)
        content = bytearray(path.read_bytes())
        content[sound.offset + sound.size - 1000] ^= 1
        path.write_bytes(content)
        store = ShardStore(tmp_path)
        with pytest.raises(CheckError, match=r"train-000000\.tar, sample clip-00-t0"):
            store.audio("clip-00-t0")

    def test_an_unknown_key_is_a_sentence(self, directory):
        with pytest.raises(CheckError, match="has no sample nobody"):
            ShardStore(directory).audio("nobody")


class TestOpenShards:
    @pytest.mark.parametrize("storage", ["compact", "plain"])
    def test_gives_the_samples_in_order(self, sets, storage):
        directories, samples = sets
        found = list(open_shards(directories[storage]))
        assert [s.key for s in found] == [s.key for s in samples]
        np.testing.assert_array_equal(found[1].audio, samples[1].audio)

    def test_shuffles_by_seed_and_epoch(self, sets):
        def epochs(seed):
            stream = open_shards(sets[0]["plain"], shuffle=10, seed=seed)
            return [[s.key for s in stream] for _ in range(2)]

        keys = [s.key for s in sets[1]]
        one, again, other = epochs(1), epochs(1), epochs(2)
        assert one == again
        assert one != other
        assert one[0] != one[1]
        for order in (*one, *other):
            assert sorted(order) == keys

    def test_takes_shards_by_prefix(self, sets):
        assert len(list(open_shards(sets[0]["plain"], prefix="train-000000"))) == 3
        with pytest.raises(CheckError, match="'test-'"):
            open_shards(sets[0]["plain"], prefix="test-")

    @pytest.mark.slow
    def test_workers_share_the_shards_out(self, sets):
        from torch.utils.data import DataLoader

        loader = DataLoader(
            open_shards(sets[0]["plain"]),
            batch_size=None, num_workers=2, multiprocessing_context="spawn",
        )  # fmt: skip
        assert sorted(s.key for s in loader) == [s.key for s in sets[1]]

    def test_ranks_share_the_shards_out(self, sets, monkeypatch):
        monkeypatch.setenv("WORLD_SIZE", "2")
        found = []
        for rank in ("0", "1"):
            monkeypatch.setenv("RANK", rank)
            found += [s.key for s in open_shards(sets[0]["plain"])]
        assert sorted(found) == [s.key for s in sets[1]]


def test_cache_forgets_the_oldest_and_keeps_its_bound():
    cache = ByteCache(10)
    made = []

    def make(key):
        made.append(key)
        return key, 4

    for key in ("a", "b", "a", "c", "a", "b"):
        assert cache.get(key, lambda key=key: make(key)) == key
    assert made == ["a", "b", "c", "b"]
    assert (len(cache), cache.size_bytes) == (2, 8)
    assert ByteCache(3).get("x", lambda: make("x")) == "x"  # too large to keep, still given
