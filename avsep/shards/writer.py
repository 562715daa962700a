"""Write a shard: samples sorted by key, with the same bytes each time."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from avsep.files import atomic_path
from avsep.schema import check_id
from avsep.shards import tar
from avsep.shards.codecs import MEMBERS, Storage, check_members

# The longest key that leaves room for every suffix in a USTAR name.
MAX_KEY = tar.MAX_NAME - 1 - max(len(s) for suffixes in MEMBERS.values() for s in suffixes)
_DIGEST = 12  # hexadecimal digits that replace the end of a long clip id


@dataclass(frozen=True, kw_only=True)
class ShardEntry:
    """One shard as the manifest lists it.

    Attributes:
        name: file name of the shard.
        size_bytes: size of the file in bytes.
        sha256: sha256 of the file.
        num_samples: number of samples in the shard.
        num_frames: number of frames of all samples together.
        keys_sha256: sha256 of the keys in order, each followed by a line feed.
    """

    name: str
    size_bytes: int
    sha256: str
    num_samples: int
    num_frames: int
    keys_sha256: str


def sample_key(clip_id: str, track: int) -> str:
    """The key of a face track: `<clip_id>-t<track>`. A long clip id ends in a digest instead."""
    tail = f"-t{track}"
    if len(clip_id) + len(tail) > MAX_KEY:
        digest = hashlib.sha256(clip_id.encode()).hexdigest()[:_DIGEST]
        clip_id = f"{clip_id[: MAX_KEY - len(tail) - _DIGEST - 1]}-{digest}"
    return check_id(clip_id + tail)


def keys_sha256(keys: Iterable[str]) -> str:
    """The sha256 of keys in order, each followed by a line feed."""
    return hashlib.sha256("".join(f"{key}\n" for key in keys).encode()).hexdigest()


def write_shard(
    path: Path, samples: Iterable[tuple[str, Mapping[str, bytes], int]], storage: Storage
) -> ShardEntry:
    """Write a shard atomically, one sample in memory at a time.

    Args:
        path: path of the tar.
        samples: (key, members by suffix, number of frames) of each sample, sorted by key.
        storage: storage, which decides the members that each sample must have.

    Raises:
        ValueError: keys are not in order, or a sample has missing or unknown members.
    """
    keys: list[str] = []
    frames = 0

    def files() -> Iterator[tuple[str, bytes]]:
        nonlocal frames
        for key, members, num_frames in samples:
            if keys and key <= keys[-1]:
                raise ValueError(f"sample {key} comes after {keys[-1]}; sort samples by key.")
            check_members(key, members, storage)
            keys.append(check_id(key))
            frames += num_frames
            for suffix in MEMBERS[storage]:
                yield f"{key}.{suffix}", members[suffix]

    with atomic_path(path) as temporary:
        size_bytes, sha256 = tar.write(temporary, files())
    return ShardEntry(
        name=path.name,
        size_bytes=size_bytes,
        sha256=sha256,
        num_samples=len(keys),
        num_frames=frames,
        keys_sha256=keys_sha256(keys),
    )
