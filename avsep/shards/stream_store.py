"""Samples of a set of shards that lies anywhere: each shard is read once, from start to end."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from avsep.errors import CheckError
from avsep.files import atomic_path, sha256_text, write_text
from avsep.shards.index import read_index
from avsep.shards.index_table import ARROW_NAME, INDEX_NAME
from avsep.shards.location import Location
from avsep.shards.manifest import (
    MANIFEST_NAME,
    Manifest,
    check_index,
    check_size,
    manifest_of,
)
from avsep.shards.store import ShardStore
from avsep.shards.tar import Shard
from avsep.shards.writer import ShardEntry

MAX_MANIFEST_BYTES = 1 << 28
MAX_ROW_BYTES = 1 << 14  # of an index; a row of VoxCeleb2 has 350


class StreamStore(ShardStore):
    """A `ShardStore` whose shards lie in a folder, or at an `https://`, `s3://` or `gs://` address.

    A shard is read from start to end when its first sample is asked for, and no sample of it is
    given unless it has the sha256 of the manifest. All processes of a machine share what is read:
    shards from elsewhere lie in a folder on this machine, the `keep` that were used last. So
    samples should be asked for shard by shard.
    """

    def __init__(
        self,
        where: Path | str,
        *,
        keep: int = 4,
        folder: Path | None = None,
        cache_bytes: int = 0,
    ) -> None:
        """Open a set: read its manifest and its index.

        Args:
            where: folder or address of the set.
            keep: number of shards that are kept on this machine, and held open by a process; more
                if more are needed together.
            folder: where the index and the shards from elsewhere are kept, and which shards have
                been checked; `avsep/streams` in the cache of the user when None.
            cache_bytes: size of the cache of decoded arrays in each process.

        Raises:
            UsageError: the address is of a kind that is not read.
            CheckError: something is missing, or does not match the manifest.
            ValueError: `keep` is below 1.
        """
        if keep < 1:
            raise ValueError(f"keep is {keep}; a stream holds at least 1 shard.")
        self._location, self._keep = Location(where), keep
        self._folder = folder or _cache_folder()
        self.name = str(self._location)
        manifest = _read_manifest(self._location)
        index_sha256 = manifest.arrow_sha256 or manifest.index_sha256
        hashes = (index_sha256, *(shard.sha256 for shard in manifest.shards))
        self._kept = self._folder / sha256_text("".join(hashes))[:32]  # for this set alone
        self.directory = self._location.folder or self._kept
        if self._location.folder is None:
            try:
                self._fetch_index(manifest, index_sha256)
            except OSError as error:
                raise self._not_kept("its index", error) from error
        check_index(self.directory, manifest)
        self._entries = {shard.name: shard for shard in manifest.shards}
        self._forget()
        self._use(manifest, read_index(self.directory, manifest), cache_bytes)

    def __getstate__(self) -> dict[str, Any]:
        own = {"location": self._location, "keep": self._keep, "folder": self._folder}
        return super().__getstate__() | own

    def __setstate__(self, state: dict[str, Any]) -> None:
        place = state["location"].address
        self.__init__(  # type: ignore[misc]
            place, keep=state["keep"], folder=state["folder"], cache_bytes=state["cache_bytes"]
        )
        self._check_same(state["index_sha256"])

    def prefetch(self, shards: Sequence[str]) -> None:
        """Begin to read shards that are needed together, in this order; returns at once.

        So many are kept from now on.
        """
        self._keep = max(self._keep, len(shards))
        for shard in shards:
            self._begin(shard)

    def _file(self, shard: str) -> Shard:
        return self._begin(shard).result()

    def _begin(self, shard: str) -> Future[Shard]:
        if self._pid != os.getpid():  # what threads of the parent read does not arrive here
            self._forget()
        with self._lock:
            if shard in self._held:
                self._held.move_to_end(shard)
                return self._held[shard]
            begun: Future[Shard] = Future()
            self._held[shard] = begun
            while len(self._held) > self._keep:
                self._held.popitem(last=False)
        threading.Thread(target=self._fetch, args=(shard, begun), daemon=True).start()
        return begun

    def _forget(self) -> None:
        self._held: OrderedDict[str, Future[Shard]] = OrderedDict()
        self._lock, self._turn, self._pid = threading.Lock(), threading.Lock(), os.getpid()

    def _fetch(self, shard: str, begun: Future[Shard]) -> None:
        try:
            with self._turn:  # one after the other: whoever asks first gets the whole line
                begun.set_result(self._checked(shard))
        except BaseException as error:
            if isinstance(error, OSError):
                error = self._not_kept(shard, error)
            with self._lock:  # the next time, it is tried again
                if self._held.get(shard) is begun:
                    del self._held[shard]
            begun.set_exception(error)

    def _not_kept(self, what: str, error: OSError) -> CheckError:
        return CheckError(
            f"{what} of {self.name} cannot be kept in {self._kept}: {error.strerror}; choose"
            " another folder, or keep fewer shards."
        )

    def _checked(self, shard: str) -> Shard:
        """A shard, read and checked by this or by another process of the machine.

        Raises:
            CheckError: it is missing or cannot be read, or is not the one of the manifest.
        """
        if shard not in self._entries:
            raise CheckError(f"{self.name}/{shard} is in the index, but not in {MANIFEST_NAME}.")
        self._kept.mkdir(parents=True, exist_ok=True)
        with (self._kept / f"{shard}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            try:
                if self._location.folder is not None:
                    return self._check_here(self._location.folder / shard, self._entries[shard])
                return self._fetched(self._kept / shard, self._entries[shard])
            finally:
                # Closing does not unlock a file that a forked process has inherited open.
                fcntl.flock(lock, fcntl.LOCK_UN)

    def _check_here(self, path: Path, entry: ShardEntry) -> Path:
        """A shard on this machine, checked once while the file stays as it is."""
        check_size(path, entry)
        status = path.stat()
        state = f"{path} {status.st_size} {status.st_mtime_ns} {status.st_ino}"
        mark = self._kept / f"{entry.name}.checked"
        if not mark.is_file() or mark.read_text("utf-8") != state:
            self._copy(entry, len)
            write_text(mark, state)
        return path

    def _fetched(self, path: Path, entry: ShardEntry) -> Shard:
        """A shard from elsewhere, open: another process may remove it."""
        with contextlib.suppress(FileNotFoundError):
            # Less is what a crash of the machine has left of it.
            if path.stat().st_size == entry.size_bytes:
                os.utime(path)  # the others know by it which shards were used last
                return path.open("rb")
        self._make_room()
        part = path.with_suffix(".part")  # of this process alone, which has the lock
        with part.open("wb") as handle:
            self._copy(entry, handle.write)
        shard = part.open("rb")
        part.replace(path)
        return shard

    def _make_room(self) -> None:
        """Remove the shards that were used longest ago; other processes may do so meanwhile."""
        used = []
        for shard in self._kept.glob("*.tar"):
            with contextlib.suppress(FileNotFoundError):
                used.append((shard.stat().st_mtime_ns, shard))
        for _, shard in sorted(used)[: max(0, len(used) + 1 - self._keep)]:
            shard.unlink(missing_ok=True)

    def _copy(self, entry: ShardEntry, write: Callable[[bytes], object]) -> None:
        size = entry.size_bytes
        found = self._location.copy(entry.name, write, max_bytes=size, size=size)
        if found != entry.sha256:
            raise CheckError(
                f"{self._location.named(entry.name)} is not the shard of {MANIFEST_NAME}: its"
                " sha256 is another; copy the set again."
            )

    def _fetch_index(self, manifest: Manifest, sha256: str) -> None:
        """Fetch the index of a set from elsewhere, unless it is there.

        Raises:
            CheckError: it cannot be fetched, or is not the one of the manifest.
        """
        name = ARROW_NAME if manifest.arrow_sha256 else INDEX_NAME
        if (self._kept / name).is_file():
            with contextlib.suppress(CheckError):  # a damaged one is fetched again
                check_index(self._kept, manifest)
                return
        most = manifest.num_samples * MAX_ROW_BYTES + (1 << 20)
        with atomic_path(self._kept / name) as temporary:
            with temporary.open("wb") as handle:
                found = self._location.copy(name, handle.write, max_bytes=most)
            if found != sha256:
                raise CheckError(
                    f"{self._location.named(name)} does not match {MANIFEST_NAME}; copy the set"
                    " again."
                )


def _read_manifest(location: Location) -> Manifest:
    where = location.named(MANIFEST_NAME)
    try:
        content = json.loads(location.read(MANIFEST_NAME, MAX_MANIFEST_BYTES))
    except (ValueError, RecursionError) as error:
        raise CheckError(f"{where} is damaged: {error}.") from error
    return manifest_of(content, where)


def _cache_folder() -> Path:
    cache = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(cache) / "avsep" / "streams"
