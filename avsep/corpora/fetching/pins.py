"""What was downloaded into a folder: MD5 by archive, and the contents of archives read in parts.

`md5.txt` has the form of md5sum, so `md5sum -c md5.txt` checks a folder too. A file without a
published checksum is recorded when it is first downloaded; from then on it must be that one.
"""

from __future__ import annotations

from pathlib import Path

from avsep.corpora.checksums import read_checksums
from avsep.errors import CheckError
from avsep.files import read_json, write_json, write_text

MD5_FILE = "md5.txt"
LISTINGS_FILE = "listings.json"


class Pins:
    """The records in the folder of a corpus."""

    def __init__(self, folder: Path) -> None:
        self._md5_path, self._listings_path = folder / MD5_FILE, folder / LISTINGS_FILE
        self._md5 = read_checksums(self._md5_path) if self._md5_path.exists() else {}
        self._listings: dict[str, str] = {}
        if self._listings_path.exists():
            self._listings = read_json(self._listings_path)
            if not isinstance(self._listings, dict):
                raise CheckError(f"{self._listings_path} is damaged; remove it.")

    def md5(self, name: str) -> str:
        """The recorded MD5 of an archive; empty for none."""
        return self._md5.get(name, "")

    def record_md5(self, name: str, md5: str) -> None:
        """Record the MD5 of an archive that is right."""
        self._md5[name] = md5
        lines = (f"{value}  {key}\n" for key, value in sorted(self._md5.items()))
        write_text(self._md5_path, "".join(lines))

    def check_listing(self, name: str, sha256: str) -> None:
        """Record what an archive on a server holds, or compare it with what it held before.

        Args:
            name: name of the archive.
            sha256: hash of the names, sizes and checksums of its members.

        Raises:
            CheckError: it holds something else now.
        """
        known = self._listings.setdefault(name, sha256)
        if known != sha256:
            raise CheckError(
                f"{name} on the server has other members than when clips of it were first"
                f" downloaded; if it was replaced on purpose, remove {self._listings_path}."
            )
        write_json(self._listings_path, self._listings)
