"""Zip archives, also ones that were split into parts, read where they lie.

The parts of a split archive are one virtual file, so nothing is joined on the disk. What is in it
is listed once; a worker process then reads a member from its offset alone, since the list of an
archive of a million members takes most of a gigabyte of memory.
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

from avsep.errors import CheckError, ItemError, Reason

CHUNK_BYTES = 1 << 20
MAX_MEMBER_BYTES = 1 << 30  # of a clip; a larger one is none

_PART = re.compile(r"(.+)_part([a-z]{2})")
_LOCAL_HEADER = struct.Struct("<4s5H3L2H")


@dataclass(frozen=True)
class Archive:
    """One zip file.

    Attributes:
        name: file name of the whole, e.g. `vox2_dev_mp4.zip`.
        parts: its files in order; one where it was not split.
    """

    name: str
    parts: tuple[str, ...]


@dataclass(frozen=True)
class Member:
    """One file inside an archive.

    Attributes:
        archive: name of the archive.
        name: of the member, as the archive has it.
        offset: of its local header, in bytes of the joined archive.
        packed_bytes: that it takes in the archive.
        size_bytes: of its content.
        crc: CRC-32 of its content.
        deflated: whether it is compressed.
    """

    archive: str
    name: str
    offset: int
    packed_bytes: int
    size_bytes: int
    crc: int
    deflated: bool


def find_archives(paths: Iterable[Path]) -> list[Archive]:
    """The zip archives among some files, split ones put together, by name.

    Raises:
        CheckError: a part in the middle is missing, or an archive is there whole and in parts.
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
            continue  # already joined by its owner
        last = max(parts)
        wanted = [a + b for a in _LETTERS for b in _LETTERS if a + b <= last]
        if missing := [letters for letters in wanted if letters not in parts]:
            raise CheckError(
                f"{name} lacks its part(s) {', '.join(missing)}; put them beside"
                f" {parts[last].name}."
            )
        whole[name] = Archive(name, tuple(str(parts[letters]) for letters in wanted))
    return [whole[name] for name in sorted(whole)]


_LETTERS = "abcdefghijklmnopqrstuvwxyz"


class JoinedFile(io.RawIOBase):
    """Several files as one that can be read and sought in."""

    def __init__(self, parts: Iterable[str]) -> None:
        super().__init__()
        self._parts = [Path(part) for part in parts]
        self._starts = [0, *accumulate(part.stat().st_size for part in self._parts)]
        self._position = 0
        self._open: tuple[int, io.BufferedReader] | None = None

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is."""
        return True

    @property
    def size_bytes(self) -> int:
        """Of all parts."""
        return self._starts[-1]

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a position; returns it."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self.size_bytes}[whence]
        if base + offset < 0:
            raise OSError(22, "a position before the beginning")
        self._position = base + offset
        return self._position

    def tell(self) -> int:
        """The position."""
        return self._position

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        """Fill a buffer from where we are, within one part; returns the number of bytes."""
        number = bisect_right(self._starts, self._position) - 1
        if self._position >= self.size_bytes:
            return 0
        if self._open is None or self._open[0] != number:
            self.release()
            self._open = (number, self._parts[number].open("rb"))
        handle = self._open[1]
        handle.seek(self._position - self._starts[number])
        count = handle.readinto(buffer)
        if count == 0:
            raise OSError(5, f"{self._parts[number].name} is shorter than it was")
        self._position += count
        return count

    def release(self) -> None:
        """Close the part that is open."""
        if self._open is not None:
            self._open[1].close()
            self._open = None

    def close(self) -> None:
        """Close it."""
        self.release()
        super().close()


def list_members(archive: Archive) -> Iterator[Member]:
    """The files in an archive, from its central directory.

    Raises:
        CheckError: it is no whole zip file, or has members that cannot be read here.
    """
    try:
        with JoinedFile(archive.parts) as joined, zipfile.ZipFile(io.BufferedReader(joined)) as z:
            infos = z.infolist()
    except (zipfile.BadZipFile, OSError, NotImplementedError) as error:
        parts = f" in {len(archive.parts)} parts" if len(archive.parts) > 1 else ""
        raise CheckError(
            f"{archive.name}{parts} is no whole zip file ({error}); is its last part there?"
        ) from error
    for info in infos:
        if info.is_dir():
            continue
        if info.flag_bits & 1 or info.compress_type not in (
            zipfile.ZIP_STORED,
            zipfile.ZIP_DEFLATED,
        ):
            raise CheckError(
                f"{info.filename} in {archive.name} is encrypted or packed in an unknown way."
            )
        yield Member(
            archive.name,
            info.filename,
            info.header_offset,
            info.compress_size,
            info.file_size,
            info.CRC,
            info.compress_type == zipfile.ZIP_DEFLATED,
        )


def read_member(archive: Archive, member: Member) -> Iterator[bytes]:
    """The content of a member, piece by piece; the last one comes once its CRC is right.

    Raises:
        ItemError: the archive is damaged there or cannot be read.
    """
    if member.size_bytes > MAX_MEMBER_BYTES:
        raise ItemError(Reason.TOO_LONG, f"{member.name} has {member.size_bytes} bytes.")
    try:
        with JoinedFile(archive.parts) as joined:
            yield from _content(joined, member)
    except OSError as error:
        raise ItemError(Reason.UNREADABLE, f"{archive.name}: {error.strerror}.") from error
    except (zlib.error, struct.error, ValueError) as error:
        raise ItemError(
            Reason.UNREADABLE, f"{member.name} in {archive.name} is damaged: {error}."
        ) from error


def _content(joined: JoinedFile, member: Member) -> Iterator[bytes]:
    reader = io.BufferedReader(joined, CHUNK_BYTES)
    reader.seek(member.offset)
    signature, *_, name_bytes, extra_bytes = _LOCAL_HEADER.unpack(reader.read(_LOCAL_HEADER.size))
    if signature != b"PK\x03\x04":
        raise ValueError("no member begins there")
    reader.seek(name_bytes + extra_bytes, io.SEEK_CUR)
    inflate = zlib.decompressobj(-zlib.MAX_WBITS) if member.deflated else None
    left, crc, size = member.packed_bytes, 0, 0
    held = b""
    while left:
        packed = reader.read(min(left, CHUNK_BYTES))
        if not packed:
            raise ValueError("it ends too early")
        left -= len(packed)
        pieces = [packed] if inflate is None else _inflated(inflate, packed, last=not left)
        for piece in pieces:
            crc, size = zlib.crc32(piece, crc), size + len(piece)
            if size > member.size_bytes:
                raise ValueError("it is longer than it says")
            if held:
                yield held
            held = piece
    if (crc, size) != (member.crc, member.size_bytes):
        raise ValueError("its checksum is wrong")
    yield held


def _inflated(inflate: zlib._Decompress, packed: bytes, *, last: bool) -> Iterator[bytes]:
    while packed:
        yield inflate.decompress(packed, CHUNK_BYTES)
        packed = inflate.unconsumed_tail
    if last:
        yield inflate.flush()


def md5_of(archive: Archive) -> str:
    """The MD5 of an archive as if its parts were joined; it is what the publishers list."""
    digest = hashlib.md5(usedforsecurity=False)
    for part in archive.parts:
        with Path(part).open("rb") as handle:
            while chunk := handle.read(CHUNK_BYTES):
                digest.update(chunk)
    return digest.hexdigest()
