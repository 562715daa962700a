"""Windows of members are the whole decode, bit for bit, and damage is one sentence."""

from __future__ import annotations

import io
import wave
import zipfile

import numpy as np
import pytest

from avsep.errors import CheckError
from avsep.schema import SAMPLES_PER_FRAME
from avsep.shards import tar
from avsep.shards.codecs import encode_sample
from avsep.shards.index import rows_of_shard, write_index
from avsep.shards.landmarks import FIELDS, encode_npz
from avsep.shards.manifest import write_manifest
from avsep.shards.store import ShardStore
from avsep.shards.windows import audio_window, landmark_window, lips_window
from avsep.shards.writer import write_shard
from tests.support.old_shards import as_format_1

FRAMES = 83  # three GOPs and a part; 53,120 samples are 13 FLAC frames


def reader(content):
    return lambda start, size: content[start:] if size is None else content[start : start + size]


def windows(total, seed=0):
    """Edges, single values, nothing, everything, and random ones."""
    rng = np.random.default_rng(seed)
    yield from ((0, total), (0, 1), (total - 1, 1), (0, 0), (total, 0), (total // 2, 0))
    for first in (24, 25, 26, 49, 50, 74, 75):  # around key frames
        yield first, 1
        yield first, total - first
    for _ in range(12):
        first = int(rng.integers(total))
        yield first, int(rng.integers(1, total - first + 1))


@pytest.fixture(scope="module")
def sample(make_sample):
    return make_sample(frames=FRAMES, seed=3)


@pytest.fixture(scope="module", params=["compact", "plain"])
def directory(request, tmp_path_factory, sample, make_sample):
    """A set of two samples in one shard."""
    folder = tmp_path_factory.mktemp(request.param)
    samples = [sample, make_sample("clip-b-t0", 30, seed=5)]
    path = folder / "train-000000.tar"
    encoded = [(s.key, encode_sample(s, request.param), s.num_frames) for s in samples]
    entry = write_shard(path, encoded, request.param)
    write_index(folder, rows_of_shard(path))
    write_manifest(folder, [entry], request.param)
    return folder


@pytest.mark.parametrize("cache_bytes", [0, 1 << 30], ids=["windows", "cache"])
def test_every_window_is_that_of_the_whole(directory, sample, cache_bytes):
    whole, store = ShardStore(directory), ShardStore(directory, cache_bytes=cache_bytes)
    audio, lips, marks = (read(sample.key) for read in (whole.audio, whole.lips, whole.landmarks))
    for first, count in windows(FRAMES):
        part = slice(first, first + count)
        np.testing.assert_array_equal(store.lips_window(sample.key, first, count), lips[part])
        points, valid = store.landmark_window(sample.key, first, count)
        np.testing.assert_array_equal(points, marks.points[part])
        np.testing.assert_array_equal(valid, marks.valid[part])
        assert (points.dtype, valid.dtype) == (np.float16, np.uint8)
    for start, count in windows(len(audio)):
        found = store.audio_window(sample.key, start, count)
        np.testing.assert_array_equal(found, audio[start : start + count])
        assert found.dtype == np.int16


def test_a_set_that_does_not_fit_into_the_cache_leaves_it_empty(directory, sample):
    # Otherwise every loading process would fill its cache with clips that do not come again.
    small, large = (ShardStore(directory, cache_bytes=size) for size in (1_000_000, 2_000_000))
    for store in (small, large):
        store.audio_window(sample.key, 0, 640)
        store.lips_window(sample.key, 0, 1)
        store.landmark_window(sample.key, 0, 1)
    assert (len(small._cache), len(large._cache)) == (0, 3)


def test_a_window_beyond_the_sample_is_one_sentence(directory, sample):
    store = ShardStore(directory, cache_bytes=0)
    for first, count in ((-1, 5), (0, FRAMES + 1), (FRAMES, 1), (FRAMES + 1, 0)):
        for read in (store.lips_window, store.landmark_window):
            with pytest.raises(
                CheckError,
                match=r"frames .* asked for, but it has 83; run the stage `mix`",
            ):
                read(sample.key, first, count)
        with pytest.raises(CheckError, match=r"samples .* were asked for, but it has 53120"):
            store.audio_window(sample.key, first * SAMPLES_PER_FRAME, count * SAMPLES_PER_FRAME)


def test_only_the_bytes_of_the_window_are_read(sample):
    encoded = encode_sample(sample, "plain")
    for suffix, decode, values in (
        ("wav", lambda read: audio_window("wav", read, start=6400, count=640), 1280),
        ("lips.npy", lambda r: lips_window("lips.npy", r, first=9, count=2, num_frames=83), 18432),
        ("lmk.npz", lambda read: landmark_window(read, first=9, count=2, num_frames=83), 818),
    ):
        sizes = []

        def read(start, size, suffix=suffix, sizes=sizes):
            content = reader(encoded[suffix])(start, size)
            sizes.append(len(content))
            return content

        decode(read)
        assert sum(sizes) < values + 500


def test_members_written_by_others_are_read_too(sample):
    # An extensible header before the sound, and arrays in another order, compressed.
    sound = io.BytesIO()
    with wave.open(sound, "wb") as file:
        file.setparams((1, 2, 16_000, 0, "NONE", ""))
        file.writeframes(sample.audio.tobytes())
    plain = sound.getvalue()
    size = int.from_bytes(plain[4:8], "little") + 12
    longer = b"RIFF" + size.to_bytes(4, "little") + plain[8:36] + b"LIST\4\0\0\0abcd" + plain[36:]
    for content in (plain, longer):
        found = audio_window("wav", reader(content), start=700, count=900)
        np.testing.assert_array_equal(found, sample.audio[700:1600])
    lips = io.BytesIO()
    np.lib.format.write_array(lips, sample.lips, version=(2, 0))
    found = lips_window("lips.npy", reader(lips.getvalue()), first=3, count=9, num_frames=FRAMES)
    np.testing.assert_array_equal(found, sample.lips[3:12])
    for compression in (zipfile.ZIP_DEFLATED, zipfile.ZIP_STORED):
        archive = io.BytesIO()
        with zipfile.ZipFile(archive, "w", compression) as file:
            for attribute, (name, _, _) in reversed(FIELDS.items()):
                array = io.BytesIO()
                np.save(array, getattr(sample.landmarks, attribute))
                file.writestr(f"{name}.npy", array.getvalue())
        content = archive.getvalue()
        points, valid = landmark_window(reader(content), first=3, count=9, num_frames=FRAMES)
        np.testing.assert_array_equal(points, sample.landmarks.points[3:12])
        np.testing.assert_array_equal(valid, sample.landmarks.valid[3:12])


@pytest.mark.parametrize("suffix", ["flac", "wav", "lips.mp4", "lips.npy", "lmk.npz"])
def test_a_cut_member_is_a_value_error_and_one_of_another_length_too(sample, make_sample, suffix):
    storage = "compact" if suffix in ("flac", "lips.mp4") else "plain"

    def decode(content):
        def read(start, size):
            found = reader(content)(start, size)
            if size is not None and len(found) != size:
                raise ValueError("cut")
            return found

        if suffix in ("flac", "wav"):
            return len(audio_window(suffix, read, start=640, count=640 * (FRAMES - 1)))
        if suffix == "lmk.npz":
            return landmark_window(read, first=1, count=FRAMES - 1, num_frames=FRAMES)
        return lips_window(suffix, read, first=1, count=FRAMES - 1, num_frames=FRAMES)

    content = encode_sample(sample, storage)[suffix]
    decode(content)
    for broken in (b"", b"nonsense", content[: len(content) // 2]):
        with pytest.raises(ValueError):  # noqa: PT011
            decode(broken)
    other = encode_sample(make_sample("clip-c-t0", FRAMES - 1, seed=1), storage)[suffix]
    if suffix in ("flac", "wav"):
        assert decode(other) == 640 * (FRAMES - 2)
    else:
        with pytest.raises(ValueError, match=r"82|cut"):
            decode(other)


def test_sets_of_format_1_give_the_same_windows(tmp_path, make_set, monkeypatch):
    from avsep.shards import codecs

    def deflated(landmarks):
        with zipfile.ZipFile(io.BytesIO(encode_npz(landmarks))) as stored:
            packed = io.BytesIO()
            with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as file:
                for name in stored.namelist():
                    file.writestr(name, stored.read(name))
        return packed.getvalue()

    monkeypatch.setattr(codecs.landmarks, "encode_npz", deflated)
    samples = make_set(tmp_path, "compact", shards=(2,), frames=30)
    store = ShardStore(as_format_1(tmp_path), cache_bytes=0)
    assert tar.scan(tmp_path / "train-000000.tar")[3].size < len(encode_npz(samples[0].landmarks))
    for sample in samples:
        points, valid = store.landmark_window(sample.key, 7, 20)
        np.testing.assert_array_equal(points, sample.landmarks.points[7:27])
        np.testing.assert_array_equal(valid, sample.landmarks.valid[7:27])
        np.testing.assert_array_equal(store.audio_window(sample.key, 99, 9), sample.audio[99:108])


def test_a_shard_that_was_replaced_while_in_use_gives_no_other_sample(directory, tmp_path):
    import shutil

    copy = shutil.copytree(directory, tmp_path / "set")
    store = ShardStore(copy, cache_bytes=0)
    key = store.index[0].key
    store.audio_window(key, 0, 640)
    shard = copy / "train-000000.tar"
    files = [(f"{m.key}.{m.suffix}", tar.read(shard, m)) for m in tar.scan(shard)]
    tar.write(shard, [(name.replace("clip-a", "clip-x"), content) for name, content in files])
    for read in (store.audio_window, store.lips_window, store.landmark_window):
        with pytest.raises(CheckError, match=r"does not match the index"):
            read(key, 0, 5)
