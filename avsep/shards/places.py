"""Where each member of a sample lies in its shard; adds them to sets that were written without."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from itertools import groupby
from operator import itemgetter
from pathlib import Path

from avsep.errors import CheckError
from avsep.shards import tar
from avsep.shards.codecs import MEMBERS, Storage
from avsep.shards.index import IndexRow, read_index
from avsep.shards.index_table import ARROW_NAME, INDEX_NAME, PLACES, read_parquet, write_arrow
from avsep.shards.manifest import (
    Manifest,
    check_index,
    check_size,
    read_manifest,
    write_manifest,
)
from avsep.tables import arrow_schema

Places = tuple[tuple[int, ...], tuple[int, ...]]
"""Offsets and sizes of a sample's members, in bytes, in the order of `MEMBERS`."""


def scanned_places(shard: tar.Shard, keys: Sequence[str], storage: Storage) -> list[Places]:
    """The places of the samples of a shard, from its headers.

    Args:
        shard: the shard.
        keys: keys that it must hold, in this order.
        storage: storage of the set.

    Raises:
        ValueError: the shard is cut or damaged, or holds other samples; names neither.
        OSError: the file cannot be opened.
    """
    names = MEMBERS[storage]
    members = tar.scan(shard)
    if [(member.key, member.suffix) for member in members] != [(k, n) for k in keys for n in names]:
        raise ValueError(f"it does not match {INDEX_NAME}.")
    parts = [members[first : first + len(names)] for first in range(0, len(members), len(names))]
    return [(tuple(m.offset for m in part), tuple(m.size for m in part)) for part in parts]


def reindex_set(directory: Path) -> Manifest:
    """Give a set the `index.arrow` that it lacks, or that is damaged, from `index.parquet`.

    No other file but the manifest changes. A set whose index is right stays as it is. A kill leaves
    the set as it was.

    Returns:
        The manifest of the set.

    Raises:
        CheckError: the set does not match its manifest, or a shard does not match the index.
    """
    import pyarrow as pa

    manifest = read_manifest(directory)
    for entry in manifest.shards:
        check_size(directory / entry.name, entry)
    check_index(directory, manifest, [INDEX_NAME])
    if manifest.arrow_sha256 and (directory / ARROW_NAME).is_file():
        with contextlib.suppress(CheckError):
            check_index(directory, manifest)
            read_index(directory, manifest)
            return manifest
    schema = arrow_schema(IndexRow)
    rows = read_parquet(directory, schema)
    places: list[Places] = []
    for shard, group in groupby(
        zip(rows["shard"].to_pylist(), rows["key"].to_pylist(), strict=True), key=itemgetter(0)
    ):
        path = directory / shard
        try:
            places += scanned_places(path, [key for _, key in group], manifest.storage)
        except (ValueError, OSError) as error:
            raise CheckError(f"{path}: {error}") from error
    for name, values in zip(PLACES, zip(*places, strict=True) if places else ([], []), strict=True):
        number = rows.schema.get_field_index(name)
        field = schema.field(name)
        rows = rows.set_column(number, field, pa.array(values, field.type))
    write_arrow(directory, rows)
    return write_manifest(
        directory,
        manifest.shards,
        manifest.storage,
        settings=manifest.settings,
        tools=manifest.tools,
    )
