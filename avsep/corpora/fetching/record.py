"""The list of files of a Zenodo record, with the sizes and checksums that it publishes."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from avsep.downloading import download
from avsep.errors import CheckError
from avsep.files import read_json

MAX_RECORD_BYTES = 4 << 20
_MD5 = re.compile(r"md5:([0-9a-f]{32})")


@dataclass(frozen=True)
class PublishedFile:
    """What a record says about one of its files.

    Attributes:
        size_bytes: size of the file.
        md5: its MD5; empty where the record gives another checksum.
    """

    size_bytes: int
    md5: str


def read_record(url: str) -> dict[str, PublishedFile]:
    """Download a record and read its files by name.

    Source: the REST API of Zenodo, in both of its forms: `files` of a record, and `entries` of the
    list of files.

    Raises:
        CheckError: the record cannot be downloaded, or is not one.
    """
    with tempfile.TemporaryDirectory(prefix="avsep-record-") as folder:
        path = Path(folder) / "record.json"
        download(url, path, max_bytes=MAX_RECORD_BYTES)
        try:
            values = read_json(path)
        except CheckError as error:
            raise CheckError(f"{url} does not answer with a record in JSON.") from error
    try:
        return dict(_files(values))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise CheckError(f"{url} does not list files with their sizes and checksums.") from error


def _files(values: Mapping[str, Any]) -> Iterator[tuple[str, PublishedFile]]:
    files = values["entries"] if "entries" in values else values["files"]
    for file in files:
        found = _MD5.fullmatch(str(file.get("checksum", "")))
        yield str(file["key"]), PublishedFile(int(file["size"]), found[1] if found else "")
