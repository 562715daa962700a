"""Samples of a set of shards by key. `plain` storage needs only numpy and pyarrow."""

from __future__ import annotations

from collections import Counter
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from avsep.errors import CheckError
from avsep.files import sha256_file
from avsep.media.pcm import pcm_sha256
from avsep.schema import SAMPLES_PER_FRAME, Landmarks, Sample
from avsep.shards import tar
from avsep.shards.cache import ByteCache
from avsep.shards.codecs import (
    AUDIO,
    JSON,
    LANDMARKS,
    LIPS,
    MEMBERS,
    decode_member,
)
from avsep.shards.index import INDEX_NAME, IndexRow, read_index
from avsep.shards.manifest import MANIFEST_NAME, Manifest, read_manifest
from avsep.shards.writer import ShardEntry

if TYPE_CHECKING:
    from numpy.typing import NDArray

DEFAULT_CACHE_BYTES = 512 << 20


class ShardStore:
    """Samples of a set of shards by key, decoded on demand and cached.

    Safe for threads, and for forked and spawned processes: a pickled store opens the folder again.
    Arrays are read-only, because the cache shares them.

    Attributes:
        directory: folder with the manifest, the index and the shards.
        manifest: manifest of the set.
        index: one row per sample, sorted by shard and key.
    """

    def __init__(self, directory: Path | str, *, cache_bytes: int = DEFAULT_CACHE_BYTES) -> None:
        """Open a set; check its manifest, the hash of its index and the sizes of its shards.

        Args:
            directory: folder with the manifest, the index and the shards.
            cache_bytes: size of the cache of decoded arrays in each process.

        Raises:
            CheckError: something is missing, or does not match the manifest.
        """
        self.directory = Path(directory)
        self.manifest: Manifest = checked_manifest(self.directory)
        self.index: list[IndexRow] = read_index(self.directory)
        self._position = {row.key: number for number, row in enumerate(self.index)}
        self._count = Counter(row.shard for row in self.index)
        self._first: dict[str, int] = {}  # position of the first sample of each shard
        for number, row in enumerate(self.index):
            self._first.setdefault(row.shard, number)
        self._layouts: dict[str, NDArray[np.int64]] = {}
        self._cache = ByteCache(cache_bytes)

    def __getstate__(self) -> dict[str, Any]:
        return {
            "directory": self.directory,
            "cache_bytes": self._cache.max_bytes,
            "index_sha256": self.manifest.index_sha256,
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["directory"], cache_bytes=state["cache_bytes"])  # type: ignore[misc]
        if self.manifest.index_sha256 != state["index_sha256"]:
            raise CheckError(f"{self.directory} has changed while it was in use.")

    def __len__(self) -> int:
        return len(self.index)

    def __contains__(self, key: object) -> bool:
        return key in self._position

    def row(self, key: str) -> IndexRow:
        """The index row of a sample.

        Raises:
            CheckError: there is no such sample.
        """
        if key not in self._position:
            raise CheckError(f"{self.directory} has no sample {key}.")
        return self.index[self._position[key]]

    def audio(self, key: str) -> NDArray[np.int16]:
        """The sound of a sample, (640 T,) int16 at 16 kHz, read-only."""
        return self._cache.get(("audio", key), partial(self._load_audio, key))

    def lips(self, key: str) -> NDArray[np.uint8]:
        """The mouth crops of a sample, (T, 96, 96) uint8, read-only."""
        return self._cache.get(("lips", key), partial(self._load_lips, key))

    def landmarks(self, key: str) -> Landmarks:
        """The landmarks of a sample, read-only."""
        return self._cache.get(("landmarks", key), partial(self._load_landmarks, key))

    def meta(self, key: str) -> dict[str, Any]:
        """The JSON member of a sample; not cached."""
        return self._decode(key, JSON)

    def sample(self, key: str) -> Sample:
        """A sample with all its members."""
        return Sample(
            key=key,
            audio=self.audio(key),
            lips=self.lips(key),
            landmarks=self.landmarks(key),
            meta=self.meta(key),
        )

    def raw(self, key: str, suffix: str) -> bytes:
        """The stored bytes of a member of a sample; not cached.

        Raises:
            CheckError: there is no such sample or member, or the shard is damaged.
        """
        path, member = self._member(key, suffix)
        try:
            return tar.read(path, member)
        except (ValueError, OSError) as error:
            raise CheckError(f"{self._where(key)}.{suffix}: {error}") from error

    def _load_audio(self, key: str) -> tuple[NDArray[np.int16], int]:
        audio = self._decode(key, AUDIO[self.manifest.storage])
        row = self.row(key)
        if len(audio) != SAMPLES_PER_FRAME * row.num_frames or pcm_sha256(audio) != (
            row.audio_sha256
        ):
            raise CheckError(f"{self._where(key)}: its sound does not match {INDEX_NAME}.")
        audio.flags.writeable = False
        return audio, audio.nbytes

    def _load_lips(self, key: str) -> tuple[NDArray[np.uint8], int]:
        lips = self._decode(key, LIPS[self.manifest.storage])
        self._check_length(key, len(lips))
        lips.flags.writeable = False
        return lips, lips.nbytes

    def _load_landmarks(self, key: str) -> tuple[Landmarks, int]:
        landmarks: Landmarks = self._decode(key, LANDMARKS)
        self._check_length(key, len(landmarks.points))
        arrays = list(vars(landmarks).values())
        for array in arrays:
            array.flags.writeable = False
        return landmarks, sum(array.nbytes for array in arrays)

    def _check_length(self, key: str, num_frames: int) -> None:
        wanted = self.row(key).num_frames
        if num_frames != wanted:
            raise CheckError(f"{self._where(key)}: {num_frames} frames; expected {wanted}.")

    def _decode(self, key: str, suffix: str) -> Any:
        content = self.raw(key, suffix)
        try:
            return decode_member(suffix, content)
        except ValueError as error:
            raise CheckError(f"{self._where(key)}.{suffix}: {error}") from error

    def _member(self, key: str, suffix: str) -> tuple[Path, tar.Member]:
        """The shard of a member, and its position there."""
        row = self.row(key)
        names = MEMBERS[self.manifest.storage]
        if suffix not in names:
            raise CheckError(f"{self.directory} has no members .{suffix}.")
        offset, size = self._layout(row.shard)[
            self._position[key] - self._first[row.shard], names.index(suffix)
        ]
        return self.directory / row.shard, tar.Member(key, suffix, int(offset), int(size))

    def _layout(self, shard: str) -> NDArray[np.int64]:
        """Offsets and sizes of a shard's members, (samples, members, 2), in index order."""
        if shard not in self._layouts:
            names = MEMBERS[self.manifest.storage]
            first = self._first[shard]
            count = self._count[shard]
            keys = [row.key for row in self.index[first : first + count]]
            wanted = [(key, name) for key in keys for name in names]
            try:
                members = tar.scan(self.directory / shard)
            except (ValueError, OSError) as error:
                raise CheckError(f"{self.directory / shard}: {error}") from error
            if [(member.key, member.suffix) for member in members] != wanted:
                raise CheckError(f"{self.directory / shard} does not match {INDEX_NAME}.")
            spans = [(member.offset, member.size) for member in members]
            self._layouts[shard] = np.array(spans, np.int64).reshape(count, len(names), 2)
        return self._layouts[shard]

    def _where(self, key: str) -> str:
        return f"{self.directory / self.row(key).shard}, sample {key}"


def checked_manifest(directory: Path) -> Manifest:
    """The manifest of a set, after a check that does not read the shards.

    Raises:
        CheckError: a shard is missing or has another size, or the index has another hash.
    """
    manifest = read_manifest(directory)
    for shard in manifest.shards:
        check_size(directory / shard.name, shard)
    if (directory / INDEX_NAME).is_file() and (
        sha256_file(directory / INDEX_NAME) != manifest.index_sha256
    ):
        raise CheckError(f"{directory / INDEX_NAME} does not match {MANIFEST_NAME}.")
    return manifest


def check_size(path: Path, shard: ShardEntry) -> None:
    """Pass when a shard has the size that the manifest gives.

    Raises:
        CheckError: the shard is missing or has another size.
    """
    try:
        size = path.stat().st_size
    except FileNotFoundError as error:
        raise CheckError(f"{path} is missing.") from error
    if size != shard.size_bytes:
        raise CheckError(
            f"{path} has {size} bytes instead of {shard.size_bytes}; see `avsep verify"
            f" {path.parent}`."
        )
