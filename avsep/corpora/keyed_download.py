"""Download the archives of VoxCeleb2 with the user's own key.

The key is read from the environment variable AVSEP_VOXCELEB_KEY and sent to the publishers' server
only: it is not a setting, is not written anywhere, and no redirect to another host gets it.
"""

from __future__ import annotations

import os
import re
import time
import urllib.parse
from collections.abc import Callable
from pathlib import Path

from avsep.addresses import check_address, make_opener
from avsep.downloading import Advance, download_resumable
from avsep.errors import UsageError

KEY_VARIABLE = "AVSEP_VOXCELEB_KEY"
# The official release without the aac archives: the mp4 files hold the sound too.
VOXCELEB2_FILES = (
    "vox2_dev_txt.zip",
    "vox2_test_txt.zip",
    "vox2_test_mp4.zip",
    *(f"vox2_dev_mp4_parta{letter}" for letter in "abcdefghi"),
)
MAX_ARCHIVE_BYTES = 512 << 30
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,100}")


class KeyedServer:
    """A server that sends archives to those who have a key.

    Attributes:
        address: address of its download page without key and file name, as in the publishers'
            e-mail.
    """

    def __init__(
        self,
        address: str,
        *,
        ca_file: Path | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        check_address(address)
        parts = urllib.parse.urlsplit(address)
        if parts.query or parts.fragment or parts.username:
            raise UsageError(
                "give the server's address without key and file name, only the part before the"
                f" `?`; the key belongs in the environment variable {KEY_VARIABLE}."
            )
        self.address = address
        self._sleep = sleep
        self._opener = make_opener(same_host=True, ca_file=ca_file)

    def download(self, name: str, folder: Path, advance: Advance) -> Path:
        """Download one file, or what is missing of it; returns its path.

        Args:
            name: file name of an archive or of a part of one.
            folder: where to write it.
            advance: called with the number of bytes that have just arrived.

        Raises:
            UsageError: there is no key, or the name is not that of a file.
            CheckError: the server refuses, or all tries failed; what has arrived is kept.
        """
        if not _NAME.fullmatch(name):
            raise UsageError(f"{name!r} is not the name of an archive.")
        key = os.environ.get(KEY_VARIABLE, "")
        if not key:
            raise UsageError(
                f"the environment variable {KEY_VARIABLE} is empty; set it to the key in the"
                " publishers' e-mail."
            )
        path = folder / name
        if path.is_file():
            advance(path.stat().st_size)
            return path
        query = urllib.parse.urlencode({"key": key, "file": name})
        download_resumable(
            f"{self.address}?{query}",
            path,
            label=name,
            opener=self._opener,
            max_bytes=MAX_ARCHIVE_BYTES,
            hint="is the key valid?",
            advance=advance,
            sleep=self._sleep,
        )
        return path
