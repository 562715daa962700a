"""Files that PyAV cannot read straight: ffmpeg writes them once as one that it can.

What an ordinary file pays is a look at its survey, which is made anyway. The signs that send a file
to ffmpeg are in `_remedy`.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from avsep.errors import ItemError, Reason, State
from avsep.media.container import PacketCount, decode_packet, limit_decoder, open_local, packets
from avsep.media.ffmpeg import DEFAULT_TIMEOUT_S, Input, remake
from avsep.media.glued import file_starts
from avsep.media.probe import probe
from avsep.media.survey import Survey, survey

_PICTURES = 12  # whose stamps are compared with the order in which they are shown
_COPIED_BYTES = 1 << 20  # at a time


@dataclass(frozen=True, kw_only=True)
class Readable:
    """A file that can be decoded.

    Attributes:
        path: the file itself, or the temporary one that ffmpeg made of it.
        note: what was wrong with it, as the end of a sentence; empty if nothing was.
    """

    path: Path
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class _Remedy:
    note: str
    parts: tuple[int, ...] = (0,)  # where the files begin within the file, in bytes


@contextmanager
def readable(
    path: Path, folder: Path | None = None, *, timeout_s: float = DEFAULT_TIMEOUT_S
) -> Iterator[Readable]:
    """Yield a file that PyAV reads: the given one, or what ffmpeg makes of it once.

    Args:
        path: path of a media file.
        folder: folder for the temporary file; that of the system if None.
        timeout_s: longest time that ffmpeg may take, in seconds.

    Raises:
        ItemError: ffmpeg takes too long, writes too much or is killed, the disk is full, or it
            cannot put the pictures in order. (What is wrong with several files in one that ffmpeg
            cannot read either is said when they are decoded.)
    """
    remedy = _remedy(path)
    if remedy is None:
        yield Readable(path=path)
        return
    with tempfile.TemporaryDirectory(prefix="avsep-", dir=folder) as name:
        target = Path(name) / path.name  # which errors repeat
        try:
            _apply(remedy, path, target, timeout_s)
            survey(target)
        except ItemError as error:
            if error.reason.state is State.FAILED or error.reason is Reason.TOO_LONG:
                raise
            if len(remedy.parts) == 1:  # as it is, it would be decoded in the wrong order
                why = f"{remedy.note}, and {error.message}"
                raise ItemError(error.reason, why) from error
            target = path
        yield Readable(path=target, note=remedy.note if target is not path else "")


def _remedy(path: Path) -> _Remedy | None:
    """What to do with a file; None for one that can be decoded as it is."""
    try:
        found = survey(path)
    except ItemError as error:
        if error.reason is not Reason.UNDECODABLE:
            return None
        starts = _file_starts(path)
        if len(starts) < 2:
            return None
        note = f"it holds {len(starts)} files one after the other"
        return _Remedy(note=note, parts=tuple(starts))
    # Without sound it is dropped for that.
    if found.in_order and found.audio is not None and _stamps_go_back(path, found):
        return _Remedy(note="its pictures have the time stamps of another order")
    return None


def _file_starts(path: Path) -> list[int]:
    try:
        with open_local(path) as container:
            name = container.format.name
    except ItemError:
        return []
    return sorted({0, *file_starts(path, name)})


def _stamps_go_back(path: Path, found: Survey) -> bool:
    """Whether the stamps go back while pictures leave the decoder in the order of showing."""
    assert found.video is not None
    last, count = None, 0
    with open_local(path) as container:
        stream: Any = container.streams[found.video]
        limit_decoder(stream)
        for packet in packets(container, [stream]):
            for frame in decode_packet(packet, PacketCount()):
                if last is not None and frame.pts is not None and frame.pts < last:
                    return True
                last, count = frame.pts, count + 1
            if count >= _PICTURES:
                break
    return False


def _apply(remedy: _Remedy, path: Path, target: Path, timeout_s: float) -> None:
    """Write the file that `remedy` makes of a file."""
    whole = len(remedy.parts) == 1
    ends = [*remedy.parts[1:], path.stat().st_size]
    inputs, sizes = [], []
    for number, (start, end) in enumerate(zip(remedy.parts, ends, strict=True), start=1):
        part = path if whole else target.with_name(f"part{number}")
        if not whole:
            _copy_span(path, part, start, end)
        found, info = survey(part), probe(part)
        if found.video is None or found.audio is None:
            raise ItemError(Reason.UNDECODABLE, f"part {number} lacks sound or pictures.")
        inputs.append(Input(path=part, video=found.video, audio=found.audio))
        sizes.append((info.width + info.width % 2, info.height + info.height % 2))  # even for H.264
    remake(inputs, target, max(sizes, key=lambda size: size[0] * size[1]), timeout_s=timeout_s)


def _copy_span(path: Path, target: Path, start: int, end: int) -> None:
    with path.open("rb") as source, target.open("wb") as copy:
        source.seek(start)
        left = end - start
        while left > 0 and (chunk := source.read(min(left, _COPIED_BYTES))):
            copy.write(chunk)
            left -= len(chunk)
