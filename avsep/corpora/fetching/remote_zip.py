"""A zip archive on a server, of which only the wanted members are downloaded."""

from __future__ import annotations

import struct
import urllib.request
import zipfile
import zlib
from collections.abc import Callable, Iterator
from functools import partial

from fsspec.spec import AbstractBufferedFile

from avsep.corpora.archives import Member, member_content, members_of
from avsep.downloading import download_range
from avsep.errors import CheckError
from avsep.files import settings_hash

MAX_CLIP_BYTES = 64 << 20  # of one member, unpacked
MAX_LISTING_BYTES = 64 << 20  # downloaded to list the members
LISTING_BLOCK_BYTES = 1 << 18
_HEADER_BYTES = 30 + 512  # before the content of a member: the fixed part, its name and extras

Sleep = Callable[[float], None]


class RemoteFile(AbstractBufferedFile):
    """A file on a server that is read in parts; fsspec keeps and reads ahead what was read.

    Attributes:
        downloaded: bytes that have been downloaded.
        limit: number of bytes at which reading stops with an error.
    """

    def __init__(
        self,
        url: str,
        *,
        label: str,
        opener: urllib.request.OpenerDirector,
        size: int,
        block_bytes: int,
        limit: int,
        sleep: Sleep,
    ) -> None:
        self._url, self._label, self._opener, self._sleep = url, label, opener, sleep
        self.downloaded, self.limit = 0, limit
        super().__init__(None, label, block_size=block_bytes, size=size)

    def _fetch_range(self, start: int, end: int) -> bytes:
        self.downloaded += end - start
        if self.downloaded > self.limit:
            raise CheckError(f"{self._label} needs more than {self.limit} bytes to be read.")
        content, total = download_range(
            self._url, start, end, label=self._label, opener=self._opener, sleep=self._sleep
        )
        if total != self.size:
            raise CheckError(
                f"{self._label} changed on the server: {total} bytes, not {self.size}."
            )
        return content


class RemoteZip:
    """The members of a zip archive on a server.

    Attributes:
        name: name of the archive.
        size_bytes: size of the archive.
        members: its files.
        listing: hash of the names, sizes and checksums of the members.

    Raises:
        CheckError: the server sends no parts of files, or the archive is damaged.
    """

    def __init__(
        self, url: str, *, name: str, opener: urllib.request.OpenerDirector, sleep: Sleep
    ) -> None:
        self.name = name
        _, self.size_bytes = download_range(url, 0, 1, label=name, opener=opener, sleep=sleep)
        self._remote = partial(
            RemoteFile, url, label=name, opener=opener, size=self.size_bytes, sleep=sleep
        )
        file = self._remote(block_bytes=LISTING_BLOCK_BYTES, limit=MAX_LISTING_BYTES)
        try:
            self.members = members_of(file, name)
        except (zipfile.BadZipFile, NotImplementedError, ValueError, OSError) as error:
            raise CheckError(f"{name} is not a complete zip archive: {error}.") from error
        rows = sorted((member.name, member.size_bytes, member.crc) for member in self.members)
        self.listing = settings_hash(self.size_bytes, rows)

    def read(self, member: Member) -> Iterator[bytes]:
        """The content of a member in chunks, usually with one request.

        Raises:
            CheckError: it is damaged or too large.
        """
        if max(member.size_bytes, member.packed_bytes) > MAX_CLIP_BYTES:
            raise CheckError(
                f"{member.name} in {self.name} has {member.size_bytes} bytes; at most"
                f" {MAX_CLIP_BYTES} are accepted."
            )
        block = member.packed_bytes + _HEADER_BYTES
        file = self._remote(block_bytes=block, limit=4 * block)
        try:
            yield from member_content(file, member)
        except (zlib.error, struct.error, ValueError) as error:
            raise CheckError(f"{member.name} in {self.name} is damaged: {error}.") from error
