"""A set that lies anywhere: each shard is read once; cuts and changes give no sample."""

from __future__ import annotations

import os
import pickle
import threading
import time
from pathlib import Path

import pytest
from fsspec.implementations.memory import MemoryFileSystem

from avsep.errors import CheckError, UsageError
from avsep.shards import tar
from avsep.shards.location import TRIES, Location
from avsep.shards.location import _open_files as open_files
from avsep.shards.store import ShardStore
from avsep.shards.stream_store import StreamStore
from tests.support.old_shards import as_format_1
from tests.support.range_server import serving_folder


@pytest.fixture
def directory(tmp_path, make_set):
    make_set(tmp_path / "set", "compact", shards=(2, 2, 1), frames=6)
    return tmp_path / "set"


@pytest.fixture
def server(directory):
    with serving_folder(directory) as server:
        yield server


@pytest.fixture(autouse=True)
def waits(monkeypatch):
    slept: list[float] = []
    monkeypatch.setattr(time, "sleep", slept.append)
    return slept


def content(store: ShardStore) -> dict[str, tuple[bytes, ...]]:
    """A window of all kinds and the whole sound of every sample, in the order of the shards."""
    found = {}
    for row in store.index:
        points, valid = store.landmark_window(row.key, 1, 3)
        found[row.key] = (
            store.audio_window(row.key, 640, 1280).tobytes(),
            store.lips_window(row.key, 1, 3).tobytes(),
            points.tobytes() + valid.tobytes(),
            store.audio(row.key).tobytes(),
        )
    return found


class TestPlaces:
    @pytest.mark.slow
    def test_a_folder_a_server_and_a_bucket_give_what_the_store_gives(
        self, directory, server, tmp_path, monkeypatch
    ):
        class Bucket(MemoryFileSystem):
            @classmethod
            def _strip_protocol(cls, path):
                return super()._strip_protocol(path.removeprefix("s3:/"))

        monkeypatch.setattr(
            "avsep.shards.location._open_files",
            lambda protocol: bucket if protocol == "s3" else open_files(protocol),
        )
        bucket = Bucket()
        for path in directory.iterdir():
            bucket.pipe_file(f"/shards/{path.name}", path.read_bytes())
        monkeypatch.setattr("avsep.shards.location.BLOCK_BYTES", 5_000)
        wanted = content(ShardStore(directory, cache_bytes=0))
        for where in (directory, str(directory), f"file://{directory}", server.address + "/",
                      "s3://shards"):  # fmt: skip
            store = StreamStore(where, folder=tmp_path / "kept")
            assert content(store) == wanted, where
        (kept,) = (tmp_path / "kept").iterdir()
        assert {path.suffix for path in kept.iterdir()} == {".arrow", ".tar", ".lock", ".checked"}

    @pytest.mark.slow
    def test_a_shard_is_read_once_for_all_processes_while_it_is_kept(self, server, tmp_path):
        names = [f"train-{number:06d}.tar" for number in range(3)]
        for _ in range(2):
            content(StreamStore(server.address, folder=tmp_path / "kept", keep=4))
        assert [server.asked[name] for name in names] == [1, 1, 1]
        tight = StreamStore(server.address, folder=tmp_path / "tight", keep=1)
        for _ in range(2):
            content(tight)
            assert len(list((tmp_path / "tight").rglob("*.tar"))) == 1
        assert [server.asked[name] for name in names] == [3, 3, 3]

    @pytest.mark.slow
    def test_two_processes_at_once_read_a_shard_once(self, server, tmp_path):
        stores = [StreamStore(server.address, folder=tmp_path / "kept", keep=3) for _ in range(4)]
        threads = [threading.Thread(target=content, args=(store,)) for store in stores]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert {n for name, n in server.asked.items() if name.endswith(".tar")} == {1}

    def test_a_shard_here_is_hashed_once_while_it_stays_as_it_is(
        self, directory, tmp_path, monkeypatch
    ):
        hashed = []
        copy = Location.copy

        def counted(self, name, *args, **options):
            hashed.append(name)
            return copy(self, name, *args, **options)

        monkeypatch.setattr(Location, "copy", counted)
        for _ in range(2):
            content(StreamStore(directory, folder=tmp_path / "kept"))
        assert hashed.count("train-000000.tar") == 1
        os.utime(directory / "train-000000.tar", ns=(1, 1))
        content(StreamStore(directory, folder=tmp_path / "kept"))
        assert hashed.count("train-000000.tar") == 2
        assert hashed.count("train-000001.tar") == 1

    def test_a_kill_while_a_shard_is_read_leaves_nothing_that_is_taken_for_one(
        self, server, tmp_path, monkeypatch
    ):
        store = StreamStore(server.address, folder=tmp_path / "kept")
        (folder,) = (tmp_path / "kept").iterdir()
        (folder / "train-000000.part").write_bytes(b"half of it")
        assert len(content(store)) == 5
        assert not list(folder.glob("*.part"))

    def test_a_process_forked_while_a_shard_is_read_does_not_keep_it_locked(
        self, server, tmp_path, monkeypatch
    ):
        copy, begun, go = Location.copy, threading.Event(), threading.Event()

        def waiting(self, name, *args, **options):
            if name.endswith(".tar"):
                begun.set()
                assert go.wait(20)
            return copy(self, name, *args, **options)

        monkeypatch.setattr(Location, "copy", waiting)
        store = StreamStore(server.address, folder=tmp_path / "kept")
        store.prefetch(["train-000000.tar"])
        assert begun.wait(20)
        end, write = os.pipe()
        child = os.fork()
        if not child:
            os.close(write)
            os.read(end, 1)  # until the parent closes its end
            os._exit(0)
        go.set()
        store._file("train-000000.tar")
        other = StreamStore(server.address, folder=tmp_path / "kept")
        reading = threading.Thread(target=other._file, args=("train-000000.tar",), daemon=True)
        reading.start()
        reading.join(20)
        locked = reading.is_alive()
        os.close(write)
        os.waitpid(child, 0)
        assert not locked

    def test_a_full_disk_is_one_sentence(self, server, tmp_path, monkeypatch):
        store = StreamStore(server.address, folder=tmp_path / "kept")

        def full(*_args, **_kwargs):
            raise OSError(28, "No space left on device")

        with monkeypatch.context() as patch:
            patch.setattr(Location, "copy", full)
            said = (
                r"train-000000.tar of http.* cannot be kept in .*: No space left on device; choose"
            )
            with pytest.raises(CheckError, match=said):
                store.audio(store.index.text("key", 0))
        (tmp_path / "file").write_text("not a folder")
        with pytest.raises(CheckError, match=r"its index of http.* cannot be kept in"):
            StreamStore(server.address, folder=tmp_path / "file")

    @pytest.mark.slow
    def test_an_index_of_format_1_will_do(self, directory, tmp_path):
        wanted = content(ShardStore(directory, cache_bytes=0))
        with serving_folder(as_format_1(directory)) as server:
            assert content(StreamStore(server.address, folder=tmp_path / "kept")) == wanted

    @pytest.mark.slow
    def test_a_damaged_index_that_was_kept_is_fetched_again(self, server, tmp_path):
        wanted = content(StreamStore(server.address, folder=tmp_path / "kept"))
        (kept,) = (tmp_path / "kept").glob("*/index.arrow")
        kept.write_bytes(kept.read_bytes()[:-100])
        assert content(StreamStore(server.address, folder=tmp_path / "kept")) == wanted

    @pytest.mark.slow
    def test_a_pickle_opens_the_same_place_and_notices_a_change(
        self, directory, server, tmp_path, make_set
    ):
        state = pickle.dumps(StreamStore(server.address, folder=tmp_path / "kept", keep=2))
        assert len(state) < 1000
        assert len(content(pickle.loads(state))) == 5
        server.folder = tmp_path / "other"
        make_set(server.folder, "compact", shards=(1,))
        with pytest.raises(CheckError, match="has changed while it was in use"):
            pickle.loads(state)

    @pytest.mark.parametrize(
        ("where", "said"),
        [
            ("ftp://here/shards", "ftp:// is no kind of address"),
            ("reference://here", "reference:// is no kind of address"),
            ("simplecache::http://127.0.0.1/x", "simplecache::http:// is no kind"),
            ("http://example.org/shards", "http://example.org/shards is not an https address"),
            ("https://user:secret@here/shards?key=secret", "https://here/shards is followed by"),
        ],
    )
    def test_other_addresses_are_refused_in_one_sentence(self, where, said):
        with pytest.raises(UsageError) as caught:
            StreamStore(where)
        assert said in str(caught.value)
        assert "secret" not in str(caught.value)


class TestCuts:
    @pytest.mark.slow
    @pytest.mark.parametrize("knows_ranges", [True, False])
    def test_reading_goes_on_behind_what_has_arrived(
        self, directory, server, tmp_path, waits, knows_ranges
    ):
        wanted = content(ShardStore(directory, cache_bytes=0))
        server.knows_ranges = knows_ranges
        server.cut_after = 3_000 if knows_ranges else 0
        server.statuses = {"manifest.json": [503, 429], "train-000001.tar": [500]}
        assert content(StreamStore(server.address, folder=tmp_path / "kept")) == wanted
        assert len(waits) >= 3
        for path in directory.glob("*.tar"):  # a cut may lose what has just arrived
            assert server.sent[path.name] < 3 * path.stat().st_size

    @pytest.mark.slow
    def test_what_a_server_without_ranges_sends_again_is_left_out(self, server):
        shard = "train-000000.tar"
        whole = (server.folder / shard).read_bytes()
        server.knows_ranges = False
        location = Location(server.address)
        for at_once in (0, 512):
            assert b"".join(location._blocks(shard, 5_000, at_once)) == whole[5_000:]
        server.knows_ranges = True
        for start, at_once in ((5_000, 0), (5_000, 700), (0, len(whole) // 2), (len(whole), 0)):
            assert b"".join(location._blocks(shard, start, at_once)) == whole[start:]

    def test_after_some_tries_without_a_byte_it_is_one_sentence(self, server, tmp_path, waits):
        store = StreamStore(server.address, folder=tmp_path / "kept")
        server.statuses["train-000000.tar"] = [503] * TRIES
        key = store.index.text("key", 0)
        said = r"/train-000000.tar cannot be read after 0 bytes: the server answers 503\.$"
        with pytest.raises(CheckError, match=said):
            store.audio(key)
        assert waits == [0.1 * 4**n for n in range(TRIES - 1)]
        assert len(store.audio(key)) == 640 * 6  # the next time, it is tried again

    @pytest.mark.parametrize("status", [401, 403, 410])
    def test_a_refusal_is_not_asked_again(self, server, tmp_path, waits, status):
        server.statuses["manifest.json"] = [status]
        with pytest.raises(CheckError, match=f"the server answers {status}"):
            StreamStore(server.address, folder=tmp_path / "kept")
        assert not waits

    @pytest.mark.parametrize("name", ["manifest.json", "index.arrow", "train-000001.tar"])
    def test_a_missing_file_is_named(self, server, tmp_path, name):
        (server.folder / name).unlink()
        with pytest.raises(CheckError, match=f"/{name} is missing"):
            content(StreamStore(server.address, folder=tmp_path / "kept"))


class TestChanges:
    @pytest.mark.slow
    @pytest.mark.parametrize("remote", [True, False])
    @pytest.mark.parametrize("place", [600, 5_000, -2_000])
    def test_one_changed_byte_of_a_shard_gives_no_sample_of_it(
        self, server, tmp_path, remote, place
    ):
        store = StreamStore(server.address if remote else server.folder, folder=tmp_path / "kept")
        path = server.folder / "train-000000.tar"
        changed = bytearray(path.read_bytes())
        changed[place] ^= 1
        path.write_bytes(changed)
        for row in store.index:
            if row.shard == path.name:
                for read in (store.audio, store.lips, store.landmarks, store.meta):
                    with pytest.raises(CheckError, match="is not the shard of manifest"):
                        read(row.key)
            else:
                store.audio(row.key)

    @pytest.mark.parametrize("remote", [True, False])
    @pytest.mark.parametrize(
        ("change", "said"),
        [
            (lambda b: b[:-512], "512 bytes are missing|bytes instead of"),
            (lambda b: b + b"x", "has more than the .* bytes that are expected|bytes instead of"),
            (lambda b: b"", "cannot be read after 0 bytes|has 0 bytes instead of"),
        ],
    )
    def test_a_shorter_or_longer_shard_is_refused(self, server, tmp_path, remote, change, said):
        store = StreamStore(server.address if remote else server.folder, folder=tmp_path / "kept")
        path = server.folder / "train-000000.tar"
        path.write_bytes(change(path.read_bytes()))
        with pytest.raises(CheckError, match=said):
            store.audio(store.index.text("key", 0))

    def test_an_index_of_another_set_is_refused(self, server, tmp_path, make_set):
        make_set(tmp_path / "other", "compact", shards=(3, 2), frames=5)
        (server.folder / "index.arrow").write_bytes(
            (tmp_path / "other" / "index.arrow").read_bytes()
        )
        for where in (server.address, server.folder):
            with pytest.raises(CheckError, match=r"index\.arrow does not match manifest"):
                StreamStore(where, folder=tmp_path / "kept")
        assert not list((tmp_path / "kept").rglob("*.arrow"))

    @pytest.mark.parametrize("text", ["", "[]", "{}", "[" * 100_000, "\udc00"])
    def test_nonsense_for_a_manifest_is_one_sentence(self, server, tmp_path, text):
        (server.folder / "manifest.json").write_bytes(text.encode("utf-8", "surrogatepass"))
        with pytest.raises(CheckError, match=r"manifest\.json (is damaged|is not a manifest)"):
            StreamStore(server.address, folder=tmp_path / "kept")


def test_a_stream_holds_at_least_one_shard(directory):
    with pytest.raises(ValueError, match="keep is 0"):
        StreamStore(directory, keep=0)


@pytest.mark.slow
def test_what_another_process_removes_at_any_moment_is_fetched_again(server, tmp_path, monkeypatch):
    def removing(before):
        """The same call, after another process has removed the shard."""

        def call(path, *args, **options):
            if path.suffix == ".tar" and path.is_relative_to(folder):
                path.unlink(missing_ok=True)
            return before(path, *args, **options)

        return call

    name = "train-000000.tar"
    size = (server.folder / name).stat().st_size
    for step in ("utime", "open", "stat"):
        folder = tmp_path / step
        StreamStore(server.address, folder=folder)._file("train-000001.tar")
        StreamStore(server.address, folder=folder)._file(name)
        store, asked = StreamStore(server.address, folder=folder, keep=2), server.asked[name]
        with monkeypatch.context() as patch:
            place = os if step == "utime" else Path
            patch.setattr(place, step, removing(getattr(place, step)))
            shard = store._file(name)
        assert server.asked[name] == asked + 1, step
        assert os.fstat(shard.fileno()).st_size == size


@pytest.mark.slow
def test_what_a_crash_of_the_machine_has_cut_is_fetched_again(server, tmp_path):
    folder = tmp_path / "kept"
    wanted = content(StreamStore(server.address, folder=folder))
    for path in folder.rglob("*.tar"):
        os.truncate(path, 1024)
    assert content(StreamStore(server.address, folder=folder)) == wanted


def test_what_has_been_dropped_can_still_be_read_by_whoever_has_it(server, tmp_path):
    store = StreamStore(server.address, folder=tmp_path / "kept", keep=1)
    first = store._file("train-000000.tar")
    store._file("train-000001.tar")
    assert [path.name for path in (tmp_path / "kept").rglob("*.tar")] == ["train-000001.tar"]
    member = tar.scan(first)[0]
    assert len(tar.read(first, member)) == member.size
