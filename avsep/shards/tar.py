"""The tar of a shard: written with the same bytes each time, and read strictly.

`tarfile` accepts a file that is cut off between two members; this reader does not.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import re
import tarfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

BLOCK = tarfile.BLOCKSIZE
MAX_NAME = 100  # bytes of a name in a USTAR header

_NAME_FIELD, _SIZE = slice(0, 100), slice(124, 136)  # of a USTAR header
_NAME = re.compile(r"([A-Za-z0-9_-]+)\.([a-z0-9.]+)")

Shard = Path | IO[bytes]
"""The path of a shard, or an open file, which need not have a name."""


@dataclass(frozen=True, slots=True)
class Member:
    """The position of one member of a sample in its shard.

    Attributes:
        key: key of the sample: the member's name up to the first dot.
        suffix: the member's name after the first dot.
        offset: start of the content, in bytes from the start of the file.
        size: size of the content in bytes.
    """

    key: str
    suffix: str
    offset: int
    size: int


def header(name: str, size: int) -> bytes:
    """A USTAR header that contains only a name and a size in bytes.

    Raises:
        ValueError: the name is too long.
    """
    info = tarfile.TarInfo(name)
    info.size, info.mode, info.mtime = size, 0o644, 0
    info.uid = info.gid = 0
    info.uname = info.gname = ""
    return info.tobuf(tarfile.USTAR_FORMAT)


def write(path: Path, files: Iterable[tuple[str, bytes]]) -> tuple[int, str]:
    """Write a tar of (name, content) pairs; the same pairs give the same bytes.

    Returns:
        The size of the file in bytes, and its sha256.
    """
    digest, size = hashlib.sha256(), 0
    with path.open("wb") as handle:
        for chunk in _chunks(files):
            handle.write(chunk)
            digest.update(chunk)
            size += len(chunk)
        # A tar ends with two empty blocks and is padded to whole records.
        end = bytes(2 * BLOCK + -(size + 2 * BLOCK) % tarfile.RECORDSIZE)
        handle.write(end)
        digest.update(end)
    return size + len(end), digest.hexdigest()


def _chunks(files: Iterable[tuple[str, bytes]]) -> Iterator[bytes]:
    for name, content in files:
        yield header(name, len(content))
        yield content
        yield bytes(-len(content) % BLOCK)


def scan(shard: Shard) -> list[Member]:
    """The members of a shard, in file order, without reading their content.

    Raises:
        ValueError: the file is cut off or damaged, or has something other than members of
            samples. The message does not name the file.
        OSError: the file cannot be opened.
    """
    members: list[Member] = []
    with os.fdopen(_open(shard), "rb") as handle:
        total = os.fstat(handle.fileno()).st_size
        offset = 0
        while True:
            handle.seek(offset)
            block = handle.read(BLOCK)
            last = f"after {members[-1].key}.{members[-1].suffix}" if members else "at the start"
            if len(block) < BLOCK:
                raise ValueError(f"cut {last}: the end mark of the tar is missing.")
            if not any(block):
                _check_end(handle, last)
                return members
            member = _member(block, offset + BLOCK, last)
            offset = member.offset + member.size + -member.size % BLOCK
            if offset > total:
                raise ValueError(f"cut inside {member.key}.{member.suffix}.")
            members.append(member)


def _member(block: bytes, offset: int, last: str) -> Member:
    try:
        info = tarfile.TarInfo.frombuf(block, "utf-8", "strict")
    except (tarfile.TarError, UnicodeDecodeError) as error:
        raise ValueError(f"damaged {last}: {error}.") from error
    match = _NAME.fullmatch(info.name)
    # Not `isreg`: to tarfile, sparse files and others of old kinds are regular too.
    if info.type not in (tarfile.REGTYPE, tarfile.AREGTYPE) or match is None:
        raise ValueError(f"{info.name!r} {last} is not a member of a sample.")
    if info.size < 0:  # a size in base 256 has a sign
        raise ValueError(f"damaged {last}: {info.name} has {info.size} bytes.")
    return Member(match[1], match[2], offset, info.size)


def _check_end(handle: io.BufferedReader, last: str) -> None:
    """Pass when only zeros follow, and at least one block of them."""
    rest = handle.read(tarfile.RECORDSIZE + 1)
    if len(rest) < BLOCK or len(rest) > tarfile.RECORDSIZE or any(rest):
        raise ValueError(f"damaged {last}: the end mark of the tar does not follow.")


def read(shard: Shard, member: Member) -> bytes:
    """The content of a member; see `open_member` for the errors."""
    with open_member(shard, member) as read_part:
        return read_part(0, None)


@contextlib.contextmanager
def open_member(shard: Shard, member: Member) -> Iterator[Callable[[int, int | None], bytes]]:
    """A function that reads a part of a member: (first byte, number of bytes or None for the rest).

    Safe for threads and processes: nothing is shared.

    Args:
        shard: path of the shard, or the open file.
        member: the member; its header in the file must have this name and size.

    Raises:
        ValueError: the file has become shorter, or has something else at this place; or, when
            reading, the part reaches beyond the member.
        OSError: the file cannot be opened.
    """
    descriptor = _open(shard)
    total = os.fstat(descriptor).st_size

    def read_part(start: int, size: int | None) -> bytes:
        size = member.size - start if size is None else size
        end = member.offset + start + size
        # Asked first: a header may give gigabytes, which reading would reserve.
        is_here = 0 <= start <= start + size <= member.size and end <= total
        content = os.pread(descriptor, size, member.offset + start) if is_here else b""
        if not is_here or len(content) != size:
            name = shard.name if isinstance(shard, Path) else "the shard"
            raise ValueError(f"{name} is cut inside {member.key}.{member.suffix}.")
        return content

    try:
        _check_header(os.pread(descriptor, BLOCK, member.offset - BLOCK), member)
        yield read_part
    finally:
        os.close(descriptor)


def _open(shard: Shard) -> int:
    """A descriptor of a shard with a position of its own."""
    # Such a path also opens a file that has no name, or none any more.
    path = shard if isinstance(shard, Path) else f"/proc/self/fd/{shard.fileno()}"
    return os.open(path, os.O_RDONLY | os.O_CLOEXEC)


def _check_header(block: bytes, member: Member) -> None:
    """Pass when a header has the name and the size of a member."""
    name = f"{member.key}.{member.suffix}"
    size = block[_SIZE].strip(b"\0 ")
    if (
        block[_NAME_FIELD].rstrip(b"\0") != name.encode()
        or not size.isdigit()
        or int(size, 8) != member.size
    ):
        raise ValueError(f"it does not match the index: {name} is not where it should be.")
