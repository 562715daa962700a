"""Where a set of shards lies: a folder, or an address that fsspec opens.

A file is read from its start to its end. Where the connection is cut, reading goes on behind the
bytes that have arrived; what arrives is checked against the hash by the caller.
"""

from __future__ import annotations

import hashlib
import os
import time
import urllib.parse
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from avsep.addresses import check_address
from avsep.errors import CheckError, UsageError
from avsep.files import HASH_CHUNK_BYTES

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

PROTOCOLS = ("https", "http", "s3", "gs")
BLOCK_BYTES = 8 << 20  # of one request to an object store
LEAST_BYTES = 1 << 10  # of one request after many cuts
TRIES = 6  # in a row without a byte
TIMEOUT_S = 60  # without a byte
_TEMPORARY = frozenset({408, 425, 429})  # HTTP statuses below 500 that are worth another try


class Location:
    """A folder, `file://`, `https://`, `s3://` or `gs://`. Safe for forked and spawned processes.

    Errors name the location without the user, password and key that an address may hold.

    Attributes:
        folder: the folder, if it is on this machine; else None.
        address: as it was given; may hold a key.
    """

    def __init__(self, where: Path | str) -> None:
        """Name a location; nothing is opened.

        Raises:
            UsageError: the address is of another kind, or http and not of this machine.
        """
        self.address = str(where).rstrip("/")
        protocol, found, rest = self.address.partition("://")
        self.folder: Path | None = None
        if not found or protocol == "file":
            self.folder = Path(rest if found else where)
            self._label = str(self.folder)
            return
        if protocol not in PROTOCOLS:
            raise UsageError(
                f"{protocol}:// is no kind of address that shards are read from; give a folder or"
                f" one of {', '.join(f'{name}://' for name in PROTOCOLS)}."
            )
        parts = urllib.parse.urlsplit(self.address)
        self._label = f"{protocol}://{parts.netloc.rpartition('@')[2]}{parts.path}"
        if parts.query or parts.fragment:
            raise UsageError(f"{self._label} is followed by ? or #; give the address of a folder.")
        if protocol in ("http", "https"):
            check_address(self._label)
        self._protocol = protocol
        self._opened: tuple[int, AbstractFileSystem | None] = -1, None

    def __str__(self) -> str:
        return self._label

    def __getstate__(self) -> dict[str, Any]:
        return {"address": self.address}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["address"])  # type: ignore[misc]

    def named(self, name: str) -> str:
        """A file of the location, for messages."""
        return f"{self._label}/{name}"

    def read(self, name: str, max_bytes: int) -> bytes:
        """The content of a small file.

        Raises:
            CheckError: it is missing, larger than `max_bytes`, or cannot be read.
        """
        parts: list[bytes] = []
        self.copy(name, parts.append, max_bytes=max_bytes)
        return b"".join(parts)

    def copy(
        self, name: str, write: Callable[[bytes], object], *, max_bytes: int, size: int = 0
    ) -> str:
        """Read a file from start to end.

        Args:
            name: name of the file.
            write: gets the content, part by part.
            max_bytes: a larger file is refused.
            size: size of the file in bytes, if it is known: less is a connection that was cut.

        Returns:
            The sha256 of the content.

        Raises:
            CheckError: it is missing, larger than `max_bytes`, or cannot be read.
        """
        digest, done, failed, at_once = hashlib.sha256(), 0, 0, 0
        blocks = self._blocks(name, done, at_once)
        while True:
            try:
                block = next(blocks, b"")
                if not block and done < size:
                    raise OSError(f"{size - done} bytes are missing")
            except FileNotFoundError as error:
                raise CheckError(f"{self.named(name)} is missing.") from error
            except Exception as error:  # each storage has errors of its own
                failed += 1
                # What has arrived just before a cut may be lost with it: ask for less.
                at_once = max(LEAST_BYTES, at_once // 8) if at_once else HASH_CHUNK_BYTES
                if self.folder is not None or _is_final(error) or failed == TRIES:
                    # `from None`: the error that is hidden this way may hold the address.
                    raise CheckError(
                        f"{self.named(name)} cannot be read after {done} bytes: {_cause(error)}."
                    ) from None
                time.sleep(0.1 * 4 ** (failed - 1))
                blocks = self._blocks(name, done, at_once)
                continue
            if not block:
                return digest.hexdigest()
            failed = 0
            done += len(block)
            if done > max_bytes:
                raise CheckError(
                    f"{self.named(name)} has more than the {max_bytes} bytes that are expected;"
                    " copy the set again."
                )
            digest.update(block)
            write(block)

    def _blocks(self, name: str, start: int, at_once: int) -> Iterator[bytes]:
        """The content of a file behind its first `start` bytes; 0 `at_once` is as usual."""
        if self.folder is not None:
            with (self.folder / name).open("rb") as handle:
                while block := handle.read(HASH_CHUNK_BYTES):
                    yield block
            return
        path = f"{self.address}/{name}"
        if self._protocol in ("http", "https"):
            yield from _of_answers(self._files(), path, start, at_once)
            return
        size, step = int(self._files().info(path)["size"]), at_once or BLOCK_BYTES
        for first in range(start, size, step):
            last = min(first + step, size)
            block = self._files().cat_file(path, start=first, end=last)
            if len(block) != last - first:
                raise OSError(f"{len(block)} bytes came instead of {last - first}")
            yield block

    def _files(self) -> AbstractFileSystem:
        """The file system, opened anew in each process: connections do not survive a fork."""
        pid, files = self._opened
        if files is None or pid != os.getpid():
            files = _open_files(self._protocol)
            self._opened = os.getpid(), files
        return files


def _open_files(protocol: str) -> AbstractFileSystem:
    import fsspec

    options: dict[str, Any] = {"skip_instance_cache": True, "use_listings_cache": False}
    if protocol in ("http", "https"):
        from aiohttp import ClientTimeout

        limits = ClientTimeout(total=None, sock_connect=TIMEOUT_S, sock_read=TIMEOUT_S)
        options["client_kwargs"] = {"timeout": limits, "trust_env": True}
    try:
        return fsspec.filesystem(protocol, **options)
    except ImportError as error:
        extra = {"s3": "s3fs", "gs": "gcsfs"}.get(protocol, "fsspec[http]")
        raise CheckError(f"{protocol}:// needs a package: pip install {extra}.") from error


def _of_answers(files: AbstractFileSystem, path: str, start: int, at_once: int) -> Iterator[bytes]:
    """The content of a file on a web server behind its first `start` bytes.

    It comes in one answer if `at_once` is 0, else in answers of so many bytes.
    """
    while True:
        headers = {"Accept-Encoding": "identity"}
        if start or at_once:
            headers["Range"] = f"bytes={start}-{start + at_once - 1 if at_once else ''}"
        came = 0
        try:
            # With a size, fsspec does not ask for it; with a block size of 0, it reads one answer.
            with files.open(path, block_size=0, size=1, headers=headers) as handle:
                # A server that knows no ranges sends all of it.
                whole = handle.r.status == 200
                left = start if whole else 0
                while block := handle.read(HASH_CHUNK_BYTES):
                    came += len(block)
                    if left >= len(block):
                        left -= len(block)
                    else:
                        yield block[left:]
                        left = 0
        except Exception as error:
            if getattr(error, "status", None) == 416 and start:  # there is nothing behind
                return
            raise
        if whole or came < at_once or not at_once:
            return
        start += came


def _is_final(error: Exception) -> bool:
    """Whether another try would give the same answer."""
    status = getattr(error, "status", None)
    if isinstance(status, int):
        return 400 <= status < 500 and status not in _TEMPORARY
    return isinstance(error, PermissionError)


def _cause(error: Exception) -> str:
    status = getattr(error, "status", None)
    if isinstance(status, int) and status:
        return f"the server answers {status}"
    if type(error) is OSError and not error.strerror:
        return str(error)  # one of ours, which names no address
    return getattr(error, "strerror", None) or type(error).__name__
