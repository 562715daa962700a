"""Sets of shards as format 1 wrote them: no `index.arrow`, and no places in `index.parquet`."""

from __future__ import annotations

from pathlib import Path

from avsep.files import (
    dump_json,
    read_json,
    read_table,
    sha256_file,
    sha256_text,
    write_json,
    write_table,
)
from avsep.shards.index import ARROW_NAME, INDEX_NAME
from avsep.shards.index_table import NUM_SAMPLES, PLACES
from avsep.shards.manifest import MANIFEST_NAME


def as_format_1(directory: Path) -> Path:
    """Turn a set into one of format 1, in place; its shards stay as they are."""
    (directory / ARROW_NAME).unlink()
    path = directory / INDEX_NAME
    write_table(path, read_table(path).drop_columns([*PLACES, NUM_SAMPLES]))
    content = read_json(directory / MANIFEST_NAME)
    del content["checksum"], content["mapped_index"]
    content["version"], content["index"]["sha256"] = 1, sha256_file(path)
    checksum = sha256_text(dump_json(content, indent=None))
    write_json(directory / MANIFEST_NAME, content | {"checksum": checksum})
    return directory
