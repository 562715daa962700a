"""Zip archives, whole or split into parts, read without joining or extracting them.

The parts of a split archive are read as one virtual file. The members are listed once; a worker
process then reads a member by its offset, since the list of an archive with a million members
takes almost a gigabyte of memory.
"""

from __future__ import annotations

import hashlib
import io
import re
import struct
import zipfile
import zlib
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from string import ascii_lowercase
from typing import IO

from avsep.errors import CheckError, ItemError, Reason

CHUNK_BYTES = 1 << 20
MAX_MEMBER_BYTES = 1 << 30  # a larger file is not a clip

_PART = re.compile(r"(.+)_part([a-z]{2})")
_LOCAL_HEADER = struct.Struct("<4s5H3L2H")


@dataclass(frozen=True)
class Archive:
    """One zip file.

    Attributes:
        name: file name of the whole archive, e.g. `vox2_dev_mp4.zip`.
        parts: paths of its parts in order; one path for an archive that is not split.
    """

    name: str
    parts: tuple[str, ...]


@dataclass(frozen=True)
class Member:
    """One file inside an archive.

    Attributes:
        archive: name of the archive.
        name: path of the file in the archive.
        offset: position of its local header in the joined archive, in bytes.
        packed_bytes: size in the archive.
        size_bytes: size of the content.
        crc: CRC-32 of the content.
        deflated: whether the content is compressed.
    """

    archive: str
    name: str
    offset: int
    packed_bytes: int
    size_bytes: int
    crc: int
    deflated: bool


def find_archives(paths: Iterable[Path]) -> list[Archive]:
    """The zip archives among some files, sorted by name.

    A whole archive replaces its parts, which its owner has joined.

    Raises:
        CheckError: a part in the middle is missing.
    """
    split: dict[str, dict[str, Path]] = {}
    whole: dict[str, Archive] = {}
    for path in sorted(paths):
        if found := _PART.fullmatch(path.name):
            split.setdefault(found[1] + ".zip", {})[found[2]] = path
        elif path.suffix.lower() == ".zip":
            whole[path.name] = Archive(path.name, (str(path),))
    for name, parts in split.items():
        if name in whole:
            continue
        last = max(parts)
        expected = [a + b for a in ascii_lowercase for b in ascii_lowercase if a + b <= last]
        if missing := [letters for letters in expected if letters not in parts]:
            raise CheckError(
                f"the part(s) {', '.join(missing)} of {name} are missing; put them beside"
                f" {parts[last].name}."
            )
        whole[name] = Archive(name, tuple(str(parts[letters]) for letters in expected))
    return [whole[name] for name in sorted(whole)]


class JoinedFile(io.RawIOBase):
    """Several files as one that can be read at any position."""

    def __init__(self, parts: Iterable[str]) -> None:
        super().__init__()
        self._parts = [Path(part) for part in parts]
        self._starts = [0, *accumulate(part.stat().st_size for part in self._parts)]
        self._position = 0
        self._open: tuple[int, io.BufferedReader] | None = None

    def readable(self) -> bool:
        """Always true."""
        return True

    def seekable(self) -> bool:
        """Always true."""
        return True

    @property
    def size_bytes(self) -> int:
        """Size of all parts together."""
        return self._starts[-1]

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move to a position; returns it."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self.size_bytes}[whence]
        if base + offset < 0:
            raise OSError(22, "the position is before the start of the file")
        self._position = base + offset
        return self._position

    def tell(self) -> int:
        """The current position."""
        return self._position

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        """Fill a buffer from the current position, up to the end of the part; returns the count."""
        number = bisect_right(self._starts, self._position) - 1
        if self._position >= self.size_bytes:
            return 0
        if self._open is None or self._open[0] != number:
            self._close_part()
            self._open = (number, self._parts[number].open("rb"))
        handle = self._open[1]
        handle.seek(self._position - self._starts[number])
        count = handle.readinto(buffer)
        if count == 0:
            raise OSError(5, f"{self._parts[number].name} has become shorter")
        self._position += count
        return count

    def _close_part(self) -> None:
        if self._open is not None:
            self._open[1].close()
            self._open = None

    def close(self) -> None:
        """Close the file."""
        self._close_part()
        super().close()


def list_members(archive: Archive) -> Iterator[Member]:
    """The files in an archive, from its central directory.

    Raises:
        CheckError: the archive is incomplete, or has members that cannot be read.
    """
    try:
        with JoinedFile(archive.parts) as joined:
            yield from members_of(io.BufferedReader(joined), archive.name)
    except (zipfile.BadZipFile, OSError, NotImplementedError) as error:
        parts = f" in {len(archive.parts)} parts" if len(archive.parts) > 1 else ""
        raise CheckError(
            f"{archive.name}{parts} is not a complete zip file ({error}); is the last part missing?"
        ) from error


def members_of(file: IO[bytes], name: str) -> list[Member]:
    """The files in an open archive of that name.

    Raises:
        CheckError: it has members that cannot be read.
        BadZipFile, OSError, NotImplementedError: it is not a complete zip archive.
    """
    members = []
    with zipfile.ZipFile(file) as archive:
        infos = archive.infolist()
    for info in infos:
        if info.is_dir():
            continue
        if info.flag_bits & 1 or info.compress_type not in (
            zipfile.ZIP_STORED,
            zipfile.ZIP_DEFLATED,
        ):
            raise CheckError(
                f"{info.filename} in {name} is encrypted, or its compression is unknown."
            )
        members.append(
            Member(
                name,
                info.filename,
                info.header_offset,
                info.compress_size,
                info.file_size,
                info.CRC,
                info.compress_type == zipfile.ZIP_DEFLATED,
            )
        )
    return members


def read_member(archive: Archive, member: Member) -> Iterator[bytes]:
    """The content of a member in chunks; the last one comes only if the CRC is right.

    Raises:
        ItemError: the member is damaged or too large, or the archive cannot be read.
    """
    if member.size_bytes > MAX_MEMBER_BYTES:
        raise ItemError(
            Reason.TOO_LONG,
            f"{member.name} has {member.size_bytes} bytes; at most {MAX_MEMBER_BYTES} are read.",
        )
    try:
        with JoinedFile(archive.parts) as joined:
            yield from member_content(io.BufferedReader(joined, CHUNK_BYTES), member)
    except OSError as error:
        raise ItemError(Reason.UNREADABLE, f"{archive.name}: {error.strerror}.") from error
    except (zlib.error, struct.error, ValueError) as error:
        raise ItemError(
            Reason.UNREADABLE, f"{member.name} in {archive.name} is damaged: {error}."
        ) from error


def member_content(reader: IO[bytes], member: Member) -> Iterator[bytes]:
    """The content of a member of an open archive; the last chunk comes only if the CRC is right.

    Raises:
        ValueError, zlib.error, struct.error: the member is damaged.
    """
    reader.seek(member.offset)
    signature, *_, name_bytes, extra_bytes = _LOCAL_HEADER.unpack(reader.read(_LOCAL_HEADER.size))
    if signature != b"PK\x03\x04":
        raise ValueError("there is no member at its offset")
    reader.seek(name_bytes + extra_bytes, io.SEEK_CUR)
    inflate = zlib.decompressobj(-zlib.MAX_WBITS) if member.deflated else None
    left, crc, size = member.packed_bytes, 0, 0
    held = b""
    while left:
        packed = reader.read(min(left, CHUNK_BYTES))
        if not packed:
            raise ValueError("the archive ends too early")
        left -= len(packed)
        chunks = [packed] if inflate is None else _inflate(inflate, packed, last=not left)
        for chunk in chunks:
            crc, size = zlib.crc32(chunk, crc), size + len(chunk)
            if size > member.size_bytes:
                raise ValueError("it is longer than the archive says")
            if held:
                yield held
            held = chunk
    if (crc, size) != (member.crc, member.size_bytes):
        raise ValueError("its checksum is wrong")
    yield held


def _inflate(inflate: zlib._Decompress, packed: bytes, *, last: bool) -> Iterator[bytes]:
    while packed:
        yield inflate.decompress(packed, CHUNK_BYTES)
        packed = inflate.unconsumed_tail
    if last:
        yield inflate.flush()


def md5_of(archive: Archive) -> str:
    """The MD5 of the joined archive, which is the checksum that the publishers list."""
    digest = hashlib.md5(usedforsecurity=False)
    for part in archive.parts:
        with Path(part).open("rb") as handle:
            while chunk := handle.read(CHUNK_BYTES):
                digest.update(chunk)
    return digest.hexdigest()
