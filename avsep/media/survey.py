"""Survey a media file once: which streams to use, and how its parts make one time line."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from avsep.errors import ItemError, Reason
from avsep.media.container import (
    MAX_DURATION_S,
    MAX_SIDE,
    PacketCount,
    decode_packet,
    limit_decoder,
    open_local,
    packets,
)
from avsep.media.glued import file_starts
from avsep.media.joints import Shifts, StreamScan, join

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.stream import Stream

# Formats that are read from the first byte to the last, without an index at the end.
_SEQUENTIAL = ("mpegts", "mpeg", "flv", "matroska,webm", "asf", "ogg")
_MAX_UNREAD_SHARE = 0.1  # of the bytes at the end of such a file
_SIZED_PICTURES = 12  # key pictures whose size is looked at
_TRIED_PACKETS = 100  # per stream, where there are several to choose from
_KEPT = 64  # surveys that a process remembers


@dataclass(frozen=True, kw_only=True)
class Survey:
    """What must be known of a file before any part of it can be decoded.

    Attributes:
        video: index of the video stream to use; None when there is none.
        audio: index of the audio stream to use; None when there is none.
        largest: width and height of the largest pictures where their size changes; None where it
            does not.
        shifts: what to add to the time stamps of each stream, by its index.
        in_order: whether the stamps of the pictures never go back in the file, though the codec
            may reorder them: they may be those of the order of decoding.
    """

    video: int | None
    audio: int | None
    largest: tuple[int, int] | None = None
    shifts: dict[int, Shifts] = field(default_factory=dict)
    in_order: bool = False


def survey(path: Path) -> Survey:
    """Survey a file; the result is remembered as long as the file does not change.

    Raises:
        ItemError: see `open_local`; the codec of every sound or video is unknown; the stamps of
            one stream break where those of the other go on; or it is too long.
    """
    try:
        status = path.stat()
    except OSError:
        return _survey(path, 0, 0)  # which says what is wrong
    return _survey(path.absolute(), status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=_KEPT)
def _survey(path: Path, mtime_ns: int, size: int) -> Survey:
    with open_local(path) as container:
        video, audio = _video(path, container), _audio(path, container)
        chosen: list[Any] = [stream for stream in (video, audio) if stream is not None]
        scans = {stream.index: StreamScan(stream.index, _noun(stream)) for stream in chosen}
        read = 0  # bytes of the file
        keys: list[int] = []  # numbers of the key pictures within the video
        shown = -math.inf  # the latest stamp of the pictures
        in_order = video is not None and bool(video.codec_context.has_b_frames)  # type: ignore[attr-defined]
        for place, packet in enumerate(packets(container, chosen)):
            read = max(read, (packet.pos or 0) + packet.size)
            scan = scans[packet.stream.index]
            if packet.stream is video and packet.is_keyframe and packet.size:
                keys.append(scan.count)
            if in_order and packet.stream is video and packet.pts is not None:
                in_order, shown = packet.pts > shown, packet.pts
            scan.add(packet, place, [other for other in scans.values() if other is not scan])
        if chosen:
            _check_rest(path, container.format.name, read)
        shifts = join(list(scans.values()))
        for scan in scans.values():
            _check_length(scan, shifts.get(scan.index, Shifts()))
        return Survey(
            video=None if video is None else video.index,
            audio=None if audio is None else audio.index,
            largest=None if video is None else _largest(path, video.index, keys),
            shifts=shifts,
            in_order=in_order,
        )


def _largest(path: Path, index: int, keys: list[int]) -> tuple[int, int] | None:
    """The size of the largest of some key pictures, spread over the file; None if all are equal.

    Calls begin small and grow as the network allows. Only a key picture can change the size.
    """
    if len(keys) < 2:
        return None
    step = max(1.0, (len(keys) - 1) / (_SIZED_PICTURES - 1))
    chosen = {keys[min(round(n * step), len(keys) - 1)] for n in range(_SIZED_PICTURES)}
    sizes: set[tuple[int, int]] = set()
    with open_local(path) as container:
        stream: Any = container.streams[index]
        limit_decoder(stream)
        for ordinal, packet in enumerate(packets(container, [stream])):
            # Pictures after it need the parameters that such a packet brings.
            new = packet.has_sidedata("new_extradata")
            if packet.size and ordinal not in chosen and not new:
                continue
            for frame in decode_packet(packet, PacketCount()):
                sizes.add((frame.width, frame.height))  # type: ignore[union-attr]
    sizes = {size for size in sizes if max(size) <= MAX_SIDE}
    return max(sizes, key=lambda size: size[0] * size[1]) if len(sizes) > 1 else None


def _check_rest(path: Path, format_name: str, read: int) -> None:
    """Refuse a file of which FFmpeg only reads the first part: what follows is another file.

    Recorders that reserve their file leave zeros at its end, which are no loss.
    """
    size = path.stat().st_size
    starts = file_starts(path, format_name, read)
    if not starts:
        if format_name not in _SEQUENTIAL or size - read <= _MAX_UNREAD_SHARE * size:
            return
        with path.open("rb") as file:
            file.seek(read)
            rest = file.read(1 << 16)
        if rest.count(0) > 0.99 * len(rest):
            return
    raise ItemError(
        Reason.UNDECODABLE,
        f"only the first {(min([read, *starts])) / size:.0%} of it can be read; what follows is in"
        " other streams or another file.",
    )


def _check_length(scan: StreamScan, shifts: Shifts) -> None:
    if scan.runs and scan.length_s(shifts) > MAX_DURATION_S:
        raise ItemError(
            Reason.TOO_LONG, f"it lasts more than {MAX_DURATION_S:.0f} s of presentation."
        )


def _noun(stream: Stream) -> str:
    return "video" if stream.type == "video" else "sound"


def _video(path: Path, container: InputContainer) -> Stream | None:
    from av.stream import Disposition

    streams = [s for s in container.streams.video if Disposition.attached_pic not in s.disposition]
    return _best(path, container, streams, "video")


def _audio(path: Path, container: InputContainer) -> Stream | None:
    return _best(path, container, list(container.streams.audio), "sound")


def _best(path: Path, container: InputContainer, streams: list[Any], what: str) -> Stream | None:
    """FFmpeg's choice among the streams that can be decoded; None when there are no streams.

    Phones write a second track of a codec that only they know, often with the higher bit rate.
    """
    from av.stream import Disposition

    if not streams:
        return None
    known = [stream for stream in streams if getattr(stream, "codec_context", None) is not None]
    if not known:
        raise ItemError(Reason.UNDECODABLE, f"FFmpeg does not know the codec of its {what}.")
    best = container.streams.best("video" if what == "video" else "audio")
    known.sort(
        key=lambda stream: (
            stream is not best,
            Disposition.default not in stream.disposition,
            -(stream.codec_context.bit_rate or 0),
            stream.index,
        )
    )
    if len(known) > 1:
        decodable = _decodable(path, [stream.index for stream in known])
        known = [stream for stream in known if stream.index in decodable] or known
    return known[0]


def _decodable(path: Path, indices: list[int]) -> set[int]:
    """Which streams give a frame early on."""
    found: set[int] = set()
    tried = dict.fromkeys(indices, 0)
    with open_local(path) as container:
        streams: list[Any] = [container.streams[index] for index in indices]
        for packet in packets(container, streams):
            index = packet.stream.index
            if index in found or tried[index] >= _TRIED_PACKETS:
                continue
            tried[index] += 1
            count = PacketCount()
            if decode_packet(packet, count) and not count.bad:
                found.add(index)
            if len(found) == len(indices):
                break
    return found
