"""Find the files in a file that several were written into, one after the other (`cat a b > c`).

Most demuxers of FFmpeg read the first of them and end.
"""

from __future__ import annotations

import mmap
import re
from pathlib import Path

MAX_PARTS = 64

# How a file begins, by the name of its format in FFmpeg: long enough to be no accident.
_BEGINNINGS = {
    "flv": rb"FLV\x01[\x01\x04\x05]\x00\x00\x00\x09\x00\x00\x00\x00",
    "matroska,webm": rb"\x1a\x45\xdf\xa3.{1,40}\x42\x82.{1,8}(?:matroska|webm)",
    "avi": rb"RIFF.{4}AVI LIST.{4}hdrl",
    "asf": rb"\x30\x26\xb2\x75\x8e\x66\xcf\x11\xa6\xd9\x00\xaa\x00\x62\xce\x6c.{6}\x00\x00",
    "ogg": rb"OggS\x00\x02",
}
_MP4 = "mov,mp4,m4a,3gp,3g2,mj2"
_RIFF_HEAD = 12  # bytes
_SHORTEST = 1_000  # bytes of a file


def file_starts(path: Path, format_name: str, first: int = 0) -> list[int]:
    """Where files begin within a file, in bytes; at most `MAX_PARTS` of them.

    Args:
        path: path of the file.
        format_name: name of its format in FFmpeg.
        first: byte from which on to look. AVI is read through by FFmpeg, with sound and pictures of
            the later files apart, so it is looked at from its second file on.
    """
    if format_name == _MP4:
        return _boxes(path, first)
    if format_name == "avi":
        first = min(first, _end_of_riff(path))
    pattern = _BEGINNINGS.get(format_name)
    if pattern is None or path.stat().st_size - first < _RIFF_HEAD:
        return []
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        found: list[int] = []
        for match in re.compile(pattern, re.DOTALL).finditer(content, first):
            if not found or match.start() - found[-1] > _SHORTEST:  # Ogg begins each stream
                found.append(match.start())
            if len(found) == MAX_PARTS:
                break
    return found


def _end_of_riff(path: Path) -> int:
    """Where the first RIFF chunk ends. Large files have more of them, of another type."""
    with path.open("rb") as file:
        head = file.read(_RIFF_HEAD)
    return len(head) - 4 + int.from_bytes(head[4:8], "little")


def _boxes(path: Path, first: int) -> list[int]:
    """Where an MP4 has a box that begins a file, without reading what is in the others.

    That is `ftyp`; or, in old QuickTime files without one, each `moov` after the first.
    """
    found: list[int] = []
    named = movies = 0
    with path.open("rb") as file:
        at, size = 0, path.stat().st_size
        while at + 8 <= size and len(found) < MAX_PARTS:
            file.seek(at)
            head = file.read(16)
            length = int.from_bytes(head[:4], "big")
            if length == 1:  # the length is in the next eight bytes
                length = int.from_bytes(head[8:], "big")
            if length < 8:  # 0 for the rest of the file; less is not a box
                break
            named += head[4:8] == b"ftyp"
            movies += head[4:8] == b"moov"
            begins = head[4:8] == b"ftyp" or (head[4:8] == b"moov" and movies > max(named, 1))
            if begins and at >= first:
                found.append(at)
            at += length
    return found
