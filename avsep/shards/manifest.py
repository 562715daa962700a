"""`manifest.json`: what a set of shards must contain, so that anyone can check it."""

from __future__ import annotations

import dataclasses
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from avsep.errors import CheckError
from avsep.files import dump_json, read_json, sha256_file, sha256_text, write_json
from avsep.schema import FPS, RATE_HZ
from avsep.shards.codecs import MEMBERS, Storage
from avsep.shards.index_table import ARROW_NAME, INDEX_NAME
from avsep.shards.writer import ShardEntry

CARD_NAME = "card.md"  # beside the manifest, for people
MANIFEST_NAME = "manifest.json"
FORMAT = "avsep-shards"
FORMAT_VERSION = 2
READ_VERSIONS = (1, FORMAT_VERSION)  # 1 has no `index.arrow`; `avsep shards reindex` adds it

SHARD_NAME = re.compile(r"[A-Za-z0-9_-]+\.tar")
_SETTLED_NS = 2_000_000_000
_LATER_SHARD = re.compile(r"[a-z]+-b(?P<batch>\d+)-\d+")


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What a set of shards contains.

    Attributes:
        storage: `compact` or `plain`; decides the members of each sample.
        shards: the shards, sorted by name.
        index_sha256: sha256 of `index.parquet`.
        arrow_sha256: sha256 of `index.arrow`; empty in sets of format 1, which have none.
        settings: hash of the settings that the samples were made with.
        tools: version of each library that made the samples.
    """

    storage: Storage
    shards: tuple[ShardEntry, ...]
    index_sha256: str
    arrow_sha256: str = ""
    settings: str = ""
    tools: Mapping[str, str] = field(default_factory=dict)

    @property
    def version(self) -> int:
        """Version of the format."""
        return FORMAT_VERSION if self.arrow_sha256 else 1

    @property
    def num_samples(self) -> int:
        """Number of samples in all shards."""
        return sum(shard.num_samples for shard in self.shards)

    @property
    def num_frames(self) -> int:
        """Number of frames in all shards."""
        return sum(shard.num_frames for shard in self.shards)

    @property
    def size_bytes(self) -> int:
        """Size of all shards together, in bytes."""
        return sum(shard.size_bytes for shard in self.shards)


def write_manifest(
    directory: Path,
    shards: Sequence[ShardEntry],
    storage: Storage,
    *,
    settings: str = "",
    tools: Mapping[str, str] | None = None,
) -> Manifest:
    """Write `manifest.json`; the shards and both files of the index must exist already."""
    manifest = Manifest(
        storage=storage,
        shards=tuple(sorted(shards, key=lambda shard: shard.name)),
        index_sha256=sha256_file(directory / INDEX_NAME),
        arrow_sha256=sha256_file(directory / ARROW_NAME),
        settings=settings,
        tools=dict(tools or {}),
    )
    content = _as_json(manifest)
    write_json(directory / MANIFEST_NAME, content | {"checksum": _checksum(content)})
    return manifest


def read_manifest(directory: Path) -> Manifest:
    """The manifest of a set of shards, checked against its own checksum.

    Raises:
        CheckError: the manifest is missing or damaged, or has another format or version.
    """
    path = directory / MANIFEST_NAME
    return manifest_of(read_json(path), str(path))


def manifest_of(content: Any, path: str) -> Manifest:
    """The manifest in the values of a JSON file, checked; `path` names it in errors.

    Raises:
        CheckError: it is damaged, or has another format or version.
    """
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise CheckError(f"{path} is not a manifest of shards.")
    if content.get("version") not in READ_VERSIONS:
        raise CheckError(
            f"{path} has version {content.get('version')!r}; this program reads"
            f" {' and '.join(map(str, READ_VERSIONS))}: update avsep, or run `avsep run extract`"
            " again."
        )
    checksum = content.pop("checksum", None)
    if checksum != _checksum(content):
        raise CheckError(f"{path} is damaged: its checksum does not match its content.")
    try:
        manifest = _from_json(content)
        adds_up = _as_json(manifest) == content
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise CheckError(f"{path} is damaged: {type(error).__name__} {error}.") from error
    if not adds_up:
        raise CheckError(f"{path} is damaged: its totals do not add up.")
    return manifest


def checked_manifest(directory: Path) -> Manifest:
    """The manifest of a set, after a check that does not read the shards.

    Raises:
        CheckError: a shard is missing or has another size, or an index has another hash.
    """
    manifest = read_manifest(directory)
    for shard in manifest.shards:
        check_size(directory / shard.name, shard)
    check_index(directory, manifest)
    return manifest


def check_index(
    directory: Path, manifest: Manifest, files: Sequence[str] = (INDEX_NAME, ARROW_NAME)
) -> None:
    """Pass when those files of the index that are there have the hashes of the manifest.

    Raises:
        CheckError: one has another hash.
    """
    for name, sha256 in index_hashes(manifest).items():
        path = directory / name
        # The table is for other programs where there is `index.arrow`; a copy may go without it.
        if name in files and path.is_file() and _sha256_of(path) != sha256:
            raise CheckError(
                f"{path} does not match {MANIFEST_NAME}; copy the set again, or run `avsep run"
                " extract`."
            )


def index_hashes(manifest: Manifest) -> dict[str, str]:
    """The sha256 of each file of the index."""
    hashes = {INDEX_NAME: manifest.index_sha256, ARROW_NAME: manifest.arrow_sha256}
    return {name: sha256 for name, sha256 in hashes.items() if sha256}


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


def _sha256_of(path: Path) -> str:
    """The sha256 of a file; not computed again in a process while the file stays as it is."""
    status = path.stat()
    # A file that was written just now could change again without another time.
    settled = time.time_ns() - status.st_mtime_ns > _SETTLED_NS
    look_up = _known_sha256 if settled else _known_sha256.__wrapped__
    return look_up(path, status.st_size, status.st_mtime_ns, status.st_ino)


@lru_cache(maxsize=64)
def _known_sha256(path: Path, *_: int) -> str:
    return sha256_file(path)


def batch_of(shard: str) -> int:
    """Which growth of the set a shard came with, from its name: 0 for `train-000000`, 2 for
    `train-b002-000000`.
    """
    match = _LATER_SHARD.match(shard)
    return int(match["batch"]) if match else 0


def _as_json(manifest: Manifest) -> dict[str, Any]:
    content = {
        "format": FORMAT,
        "version": manifest.version,
        "storage": manifest.storage,
        "members": list(MEMBERS[manifest.storage]),
        "fps": FPS,
        "rate_hz": RATE_HZ,
        "settings": manifest.settings,
        "tools": dict(manifest.tools),
        "index": {"name": INDEX_NAME, "sha256": manifest.index_sha256},
        "shards": [dataclasses.asdict(shard) for shard in manifest.shards],
        "totals": {
            "shards": len(manifest.shards),
            "samples": manifest.num_samples,
            "frames": manifest.num_frames,
            "size_bytes": manifest.size_bytes,
        },
    }
    if manifest.arrow_sha256:
        content["mapped_index"] = {"name": ARROW_NAME, "sha256": manifest.arrow_sha256}
    return content


def _from_json(content: Mapping[str, Any]) -> Manifest:
    shards = tuple(ShardEntry(**shard) for shard in content["shards"])
    if content["storage"] not in MEMBERS:
        raise ValueError(f"storage {content['storage']!r}")
    for shard in shards:
        # A name must never lead out of the folder.
        if not SHARD_NAME.fullmatch(shard.name):
            raise ValueError(f"shard name {shard.name!r}")
    arrow_sha256 = content["mapped_index"]["sha256"] if content["version"] > 1 else ""
    hashes = [text for shard in shards for text in (shard.sha256, shard.keys_sha256)]
    hashes += [content["settings"], content["index"]["sha256"], arrow_sha256]
    if not all(isinstance(text, str) for text in (*hashes, *content["tools"].values())):
        raise TypeError("a hash or a version in it is not a text")
    return Manifest(
        storage=content["storage"],
        shards=shards,
        index_sha256=content["index"]["sha256"],
        arrow_sha256=arrow_sha256,
        settings=content["settings"],
        tools=content["tools"],
    )


def _checksum(content: Mapping[str, Any]) -> str:
    return sha256_text(dump_json(content, indent=None))
