"""Which version of a file a server sends: what a download that was cut must go on with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from avsep.errors import CheckError, UsageError
from avsep.files import read_json, write_json
from avsep.settings import build


@dataclass(frozen=True, kw_only=True)
class FileVersion:
    """What a server says of a file.

    Attributes:
        server: the server; the tags of two servers cannot be compared.
        etag: its `ETag`; empty if it gives none.
        modified: its `Last-Modified`; empty if it gives none.
        size_bytes: size of the file; None if it is not said.
    """

    server: str
    etag: str
    modified: str
    size_bytes: int | None

    @property
    def condition(self) -> str:
        """What `If-Range` may hold: a strong tag, else the date; empty for neither."""
        return self.etag if self.etag and not self.etag.startswith("W/") else self.modified

    def is_that_of(self, other: FileVersion) -> bool:
        """Whether another answer is about the same version, as far as both say."""
        known: list[tuple[object, object]] = [(self.size_bytes, other.size_bytes)]
        if self.server == other.server:
            known += [(self.etag, other.etag), (self.modified, other.modified)]
        return all(one == two for one, two in known if one and two)


def version_of(server: str, headers: Mapping[str, str], size_bytes: int | None) -> FileVersion:
    """The version that an answer is about; `size_bytes` is that of the whole file."""
    return FileVersion(
        server=server,
        etag=headers.get("ETag", ""),
        modified=headers.get("Last-Modified", ""),
        size_bytes=size_bytes,
    )


def version_path(part: Path) -> Path:
    """Where the version of a part of a file is recorded."""
    return part.with_name(f"{part.name}.json")


def write_version(part: Path, version: FileVersion) -> None:
    """Record the version of a part."""
    write_json(version_path(part), asdict(version))


def read_version(part: Path) -> FileVersion | None:
    """The version of a part; None if none is recorded, or what is recorded is damaged."""
    try:
        return build(FileVersion, read_json(version_path(part)), "version")
    except (CheckError, UsageError, ValueError):
        return None
