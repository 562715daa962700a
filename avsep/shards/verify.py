"""Check a set of shards against its manifest and name every wrong file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, islice
from pathlib import Path

from avsep.errors import CheckError
from avsep.files import sha256_file
from avsep.shards import tar
from avsep.shards.codecs import JSON, MEMBERS, Storage, check_members, decode_json, decode_sample
from avsep.shards.index import (
    ARROW_NAME,
    INDEX_NAME,
    Index,
    IndexRow,
    read_index,
    row_of,
    same_row,
)
from avsep.shards.index_table import mapped_form, read_parquet
from avsep.shards.manifest import (
    CARD_NAME,
    MANIFEST_NAME,
    Manifest,
    index_hashes,
    read_manifest,
)
from avsep.shards.writer import ShardEntry, keys_sha256
from avsep.tables import arrow_schema

MAX_PROBLEMS_PER_FILE = 5


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong with a file.

    Attributes:
        file: name of the file, relative to the folder of the set.
        message: what is wrong, in one sentence.
    """

    file: str
    message: str

    def __str__(self) -> str:
        return f"{self.file}: {self.message}"


def verify_set(directory: Path, *, deep: bool = False) -> list[Problem]:
    """All problems of a set of shards; an empty list if there are none.

    Args:
        directory: folder with `manifest.json`, `index.parquet` and the shards.
        deep: also decode every sample, which finds errors made when it was written.
    """
    try:
        manifest = read_manifest(directory)
    except CheckError as error:
        return [Problem(MANIFEST_NAME, str(error))]
    problems = list(_unexpected_files(directory, manifest))
    rows, index_problems = _index(directory, manifest)
    problems += index_problems
    for shard in manifest.shards:
        found = _shard_problems(directory / shard.name, shard, manifest, rows, deep=deep)
        problems += [Problem(shard.name, text) for text in islice(found, MAX_PROBLEMS_PER_FILE)]
    return problems


def _unexpected_files(directory: Path, manifest: Manifest) -> Iterator[Problem]:
    known = {MANIFEST_NAME, INDEX_NAME, ARROW_NAME, CARD_NAME}
    known |= {shard.name for shard in manifest.shards}
    for path in sorted(directory.iterdir()):
        if path.name not in known:
            yield Problem(path.name, "is not in the manifest.")
    names = Counter(shard.name for shard in manifest.shards)
    for name, count in sorted(names.items()):
        if count > 1:
            yield Problem(MANIFEST_NAME, f"lists {name} {count} times.")


def _index(
    directory: Path, manifest: Manifest
) -> tuple[dict[str, list[IndexRow]] | None, list[Problem]]:
    """The rows of the index by shard, or None if it cannot be read, and the index's problems."""
    problems = []
    rows: Sequence[IndexRow] | None = None
    table: Index | None = None
    for name, sha256 in index_hashes(manifest).items():
        path = directory / name
        if not path.is_file():
            problems.append(Problem(name, "is missing."))
        elif sha256_file(path) != sha256:
            problems.append(Problem(name, "its sha256 is not the one in the manifest."))
        try:
            if name == INDEX_NAME and path.is_file():
                table = Index(mapped_form(read_parquet(directory, arrow_schema(IndexRow))))
            if name == ARROW_NAME or not manifest.arrow_sha256:
                rows = read_index(directory)
        except CheckError as error:
            problems.insert(0, Problem(name, str(error)))
    if rows is None:
        return None, problems
    same = table is None or (len(table) == len(rows) and all(map(same_row, table, rows)))
    if manifest.arrow_sha256 and not same:
        problems.append(Problem(ARROW_NAME, f"has other rows than {INDEX_NAME}."))
    by_shard: dict[str, list[IndexRow]] = {shard.name: [] for shard in manifest.shards}
    for row in rows:
        if row.shard in by_shard:
            by_shard[row.shard].append(row)
        else:
            problems.append(
                Problem(INDEX_NAME, f"{row.key} is listed in the unknown shard {row.shard}.")
            )
    keys = Counter(row.key for row in rows)
    problems += [
        Problem(INDEX_NAME, f"has {count} rows for {key}.")
        for key, count in sorted(keys.items())
        if count > 1
    ]
    return by_shard, problems[:MAX_PROBLEMS_PER_FILE]


def _shard_problems(
    path: Path,
    shard: ShardEntry,
    manifest: Manifest,
    rows: dict[str, list[IndexRow]] | None,
    *,
    deep: bool,
) -> Iterator[str]:
    """What is wrong with one shard, the most informative message first."""
    if not path.is_file():
        yield "is missing."
        return
    size = path.stat().st_size
    same = size == shard.size_bytes and sha256_file(path) == shard.sha256
    try:
        members = tar.scan(path)
    except ValueError as error:
        yield f"is {error}" if str(error).startswith(("cut", "damaged")) else str(error)
        members = None
    if size != shard.size_bytes:
        yield f"has {size} bytes, not the {shard.size_bytes} of the manifest."
    elif not same:
        yield "its sha256 is not the one in the manifest: its content has changed."
    if members is None:
        return
    yield from _member_problems(path, members, shard, manifest)
    if same:
        expected = None if rows is None else rows[shard.name]
        yield from _content_problems(path, members, shard, manifest.storage, expected, deep=deep)


def _member_problems(
    path: Path, members: Sequence[tar.Member], shard: ShardEntry, manifest: Manifest
) -> Iterator[str]:
    """What is wrong with the members, by their names alone."""
    keys = []
    for key, group in groupby(members, key=lambda member: member.key):
        suffixes = [member.suffix for member in group]
        keys.append(key)
        try:
            check_members(key, dict.fromkeys(suffixes), manifest.storage)
        except ValueError as error:
            yield f"{error}"
            continue
        if suffixes != list(MEMBERS[manifest.storage]):
            yield f"sample {key} has its members in the order {', '.join(suffixes)}."
    if keys != sorted(set(keys)):
        yield "its keys are not in order, or one occurs twice."
    if len(keys) != shard.num_samples:
        yield f"has {len(keys)} samples, not the {shard.num_samples} of the manifest."
    elif keys_sha256(keys) != shard.keys_sha256:
        yield "its keys are not those of the manifest."


def _content_problems(
    path: Path,
    members: Sequence[tar.Member],
    shard: ShardEntry,
    storage: Storage,
    rows: list[IndexRow] | None,
    *,
    deep: bool,
) -> Iterator[str]:
    """What is wrong with the JSON members, compared with the index; if `deep`, with all members."""
    indexed = None if rows is None else {row.key: row for row in rows}
    num_frames = 0
    for key, group in groupby(members, key=lambda member: member.key):
        suffixes = {member.suffix: member for member in group}
        if set(suffixes) != set(MEMBERS[storage]):
            continue  # reported already
        wanted = suffixes if deep else {JSON: suffixes[JSON]}
        content = {suffix: tar.read(path, member) for suffix, member in wanted.items()}
        try:
            if deep:
                decode_sample(key, content, storage)
            row = row_of(decode_json(content[JSON]), path.name, list(suffixes.values()))
        except (ValueError, TypeError, AttributeError, KeyError) as error:
            yield f"sample {key} is damaged: {error}"
            continue
        num_frames += row.num_frames
        if row.key != key:
            yield f"sample {key} calls itself {row.key}."
        if indexed is None:
            continue
        if key not in indexed:
            yield f"sample {key} is not in {INDEX_NAME}."
        elif not same_row(found := indexed.pop(key), row):
            yield f"sample {key} differs from its row in {INDEX_NAME}."
        elif found.offsets and (found.offsets, found.sizes) != (row.offsets, row.sizes):
            yield f"sample {key} is not where {ARROW_NAME} says."
    for key in sorted(indexed or {}):
        yield f"sample {key} of {INDEX_NAME} is missing."
    if num_frames != shard.num_frames:
        yield f"has {num_frames} frames, not the {shard.num_frames} of the manifest."
