"""Samples of a set of shards by key. `plain` storage needs only numpy and pyarrow."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from avsep.errors import CheckError
from avsep.media.pcm import BYTES_PER_SAMPLE, pcm_sha256
from avsep.schema import LIPS_SIZE, SAMPLES_PER_FRAME, Landmarks, Sample
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
from avsep.shards.index import INDEX_NAME, Index, IndexRow, read_index
from avsep.shards.manifest import Manifest, checked_manifest
from avsep.shards.places import Places, scanned_places
from avsep.shards.windows import Read, audio_window, landmark_window, lips_window

if TYPE_CHECKING:
    from numpy.typing import NDArray

DEFAULT_CACHE_BYTES = 512 << 20
BYTES_PER_FRAME = LIPS_SIZE**2 + BYTES_PER_SAMPLE * SAMPLES_PER_FRAME + 455  # 455: landmarks
T = TypeVar("T")


class ShardStore:
    """Samples of a set of shards by key, decoded on demand and cached.

    Safe for threads, and for forked and spawned processes: a pickled store opens the folder again.
    Arrays are read-only, because the cache shares them.

    Attributes:
        directory: folder with the manifest, the index and the shards.
        manifest: manifest of the set.
        index: one row per sample, sorted by shard and key.
        name: what errors call the set.
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
        self.name = str(self.directory)
        manifest = checked_manifest(self.directory)
        self._use(manifest, read_index(self.directory, manifest), cache_bytes)

    def _use(self, manifest: Manifest, index: Index, cache_bytes: int) -> None:
        self.manifest, self.index = manifest, index
        self._num_frames = self.index.column("num_frames")
        self._known: dict[int, dict[int, Places]] = {}  # by the codes of shards in use
        self._last = "", -1
        self._cache = ByteCache(cache_bytes)
        # If every clip stays in memory, each is decoded once; otherwise windows are what pays.
        self._keeps_clips = int(self._num_frames.sum()) * BYTES_PER_FRAME <= cache_bytes

    def __getstate__(self) -> dict[str, Any]:
        return {
            "directory": self.directory,
            "cache_bytes": self._cache.max_bytes,
            "index_sha256": self.manifest.index_sha256,
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["directory"], cache_bytes=state["cache_bytes"])  # type: ignore[misc]
        self._check_same(state["index_sha256"])

    def _check_same(self, index_sha256: str) -> None:
        """Pass when this is the set that was pickled."""
        if self.manifest.index_sha256 != index_sha256:
            raise CheckError(f"{self.name} has changed while it was in use.")

    def __len__(self) -> int:
        return len(self.index)

    def __contains__(self, key: object) -> bool:
        return isinstance(key, str) and self.index.position(key) is not None

    def row(self, key: str) -> IndexRow:
        """The index row of a sample.

        Raises:
            CheckError: there is no such sample.
        """
        return self.index[self._position(key)]

    def num_frames(self, key: str) -> int:
        """The length of a sample in frames.

        Raises:
            CheckError: there is no such sample.
        """
        return int(self._num_frames[self._position(key)])

    def _position(self, key: str) -> int:
        last, position = self._last
        if last != key:  # several members of one sample are read in a row
            found = self.index.position(key)
            if found is None:
                raise CheckError(f"{self.name} has no sample {key}.")
            position = found
            self._last = key, position
        return position

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
        return self._read(key, suffix, lambda read: read(0, None))

    def audio_window(self, key: str, start: int, count: int) -> NDArray[np.int16]:
        """Some of the sound of a sample, (count,) int16 at 16 kHz; not always writeable.

        Like the other windows, it is decoded from the bytes it needs unless the set fits into the
        cache, and its hash is not checked: `avsep verify` does that.

        Args:
            key: key of the sample.
            start: first sample.
            count: number of samples; the window must lie within the sound.

        Raises:
            CheckError: there is no such sample, the window reaches beyond it, or the shard is
                damaged.
        """
        self._check_window(key, start, count, SAMPLES_PER_FRAME)
        if self._keeps_clips:
            return self.audio(key)[start : start + count]
        suffix = AUDIO[self.manifest.storage]
        audio = self._read(key, suffix, partial(audio_window, suffix, start=start, count=count))
        if len(audio) != count:
            raise CheckError(f"{self._where(key)}: its sound does not match {INDEX_NAME}.")
        return audio

    def lips_window(self, key: str, first: int, count: int) -> NDArray[np.uint8]:
        """Some mouth crops of a sample, (count, 96, 96) uint8; see `audio_window`."""
        num_frames = self._check_window(key, first, count)
        if self._keeps_clips:
            return self.lips(key)[first : first + count]
        suffix = LIPS[self.manifest.storage]
        window = partial(lips_window, suffix, first=first, count=count, num_frames=num_frames)
        return self._read(key, suffix, window)

    def landmark_window(
        self, key: str, first: int, count: int
    ) -> tuple[NDArray[np.float16], NDArray[np.uint8]]:
        """Some landmarks of a sample, (count, 68, 3), and their `valid` marks, (count,); see
        `audio_window`.
        """
        num_frames = self._check_window(key, first, count)
        if self._keeps_clips:
            whole = self.landmarks(key)
            return whole.points[first : first + count], whole.valid[first : first + count]
        window = partial(landmark_window, first=first, count=count, num_frames=num_frames)
        return self._read(key, LANDMARKS, window)

    def _check_window(self, key: str, first: int, count: int, per_frame: int = 1) -> int:
        """The number of frames of a sample that has the window."""
        num_frames = self.num_frames(key)
        what = "frames" if per_frame == 1 else "samples"
        if not 0 <= first <= first + count <= num_frames * per_frame:
            raise CheckError(
                f"{self._where(key)}: {what} {first} to {first + count - 1} were asked for, but it"
                f" has {num_frames * per_frame}; run the stage `mix` again."
            )
        return num_frames

    def _read(self, key: str, suffix: str, decode: Callable[[Read], T]) -> T:
        """What a function makes of a member that it reads.

        Raises:
            CheckError: there is no such sample or member, or the shard is damaged.
        """
        shard, member = self._member(key, suffix)
        try:
            with tar.open_member(shard, member) as read:
                return decode(read)
        except (ValueError, OSError) as error:
            raise CheckError(f"{self._where(key)}.{suffix}: {error}") from error

    def _load_audio(self, key: str) -> tuple[NDArray[np.int16], int]:
        audio = self._decode(key, AUDIO[self.manifest.storage])
        sha256 = self.index.text("audio_sha256", self._position(key))
        if len(audio) != SAMPLES_PER_FRAME * self.num_frames(key) or pcm_sha256(audio) != sha256:
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
        wanted = self.num_frames(key)
        if num_frames != wanted:
            raise CheckError(f"{self._where(key)}: {num_frames} frames; expected {wanted}.")

    def _decode(self, key: str, suffix: str) -> Any:
        return self._read(key, suffix, lambda read: decode_member(suffix, read(0, None)))

    def _member(self, key: str, suffix: str) -> tuple[tar.Shard, tar.Member]:
        """The shard of a member, and its position there."""
        position = self._position(key)
        names = MEMBERS[self.manifest.storage]
        if suffix not in names:
            raise CheckError(f"{self.name} has no members .{suffix}.")
        places = self._places(position)
        number, shard = names.index(suffix), self._shard(position)
        offset, size = places[0][number], places[1][number]
        return self._file(shard), tar.Member(key, suffix, offset, size)

    def _file(self, shard: str) -> tar.Shard:
        """A shard by its name."""
        return self.directory / shard

    def _places(self, position: int) -> Places:
        """Offsets and sizes of a sample's members; its shard is checked on the first call."""
        codes, shards = self.index.codes("shard")
        code = codes[position]
        if code not in self._known:
            first, last = np.searchsorted(codes, code), np.searchsorted(codes, code, "right")
            self._known[code] = self._places_of_shard(shards[code], range(first, last))
        known = self._known[code]
        return known[position] if known else self.index.places(position)

    def _places_of_shard(self, shard: str, positions: range) -> dict[int, Places]:
        """The places of a shard's samples by position; none where the index has them.

        Raises:
            CheckError: the shard does not match the index.
        """
        file, names = self._file(shard), MEMBERS[self.manifest.storage]
        last = positions[-1]
        key, (offsets, sizes) = self.index.text("key", last), self.index.places(last)
        try:
            if len(offsets) == len(names):  # an early check: every read checks its own member
                with tar.open_member(file, tar.Member(key, names[-1], offsets[-1], sizes[-1])):
                    return {}
            keys = [self.index.text("key", position) for position in positions]
            places = scanned_places(file, keys, self.manifest.storage)
        except (ValueError, OSError) as error:
            raise CheckError(f"{self.name}/{shard}: {error}") from error
        return dict(zip(positions, places, strict=True))

    def _shard(self, position: int) -> str:
        codes, names = self.index.codes("shard")
        return names[codes[position]]

    def _where(self, key: str) -> str:
        return f"{self.name}/{self._shard(self._position(key))}, sample {key}"
