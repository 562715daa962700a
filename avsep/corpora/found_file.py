"""A file of a corpus, on the disk or in an archive."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from avsep.corpora.archives import Member
from avsep.corpora.source_files import fingerprint_of


@dataclass(frozen=True)
class FoundFile:
    """A file of a corpus on the disk or in an archive.

    Attributes:
        path: path on the disk, or name in the archive.
        member: where it is in the archive; None for a file on the disk.
    """

    path: str
    member: Member | None = None

    @property
    def fingerprint(self) -> str:
        """Text that changes when the file does."""
        if self.member is not None:
            return f"{self.member.crc:08x}-{self.member.size_bytes}"
        return fingerprint_of(Path(self.path))
