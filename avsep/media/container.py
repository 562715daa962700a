"""Open local media files: no other protocols, no playlists, bounded sizes; decode their packets."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from avsep.errors import ItemError, Reason

if TYPE_CHECKING:
    import av
    from av.audio.stream import AudioStream
    from av.container import InputContainer
    from av.packet import Packet
    from av.video.stream import VideoStream

MAX_SIDE = 8192  # pixels
MAX_DURATION_S = 4 * 3600.0
MAX_STREAMS = 64
MAX_BAD_SHARE = 0.05  # share of packets that cannot be decoded, above which a stream is damaged
MIN_BAD = 2  # so many bad packets never make a stream damaged, however short it is

# Containers with the media inside. Playlists and scripts (hls, concat, dash, sdp) are left out on
# purpose: they make FFmpeg open other files.
FORMATS = "mov,matroska,webm,avi,mpegts,mpeg,flv,asf,ogg,mxf,dv"

# Formats whose time stamps may start again, so that FFmpeg's estimate of the duration means little.
RESTARTING = ("mpegts", "mpeg", "ogg")

_OPTIONS = {
    "protocol_whitelist": "file",
    "format_whitelist": FORMATS,
    "max_streams": str(MAX_STREAMS),
    # FFmpeg decodes the first pictures to find out what they are.
    "max_pixels": str(MAX_SIDE * MAX_SIDE),
}


@contextmanager
def open_local(path: Path) -> Iterator[InputContainer]:
    """Open a local media file for reading.

    Raises:
        ItemError: the file is missing, unreadable, not a known container, or longer than
            `MAX_DURATION_S`.
    """
    import av

    _check_readable(path)
    try:
        # `file:` keeps a name like `http:x.mp4` or `-` from having another meaning.
        container = av.open(f"file:{path.absolute()}", options=_OPTIONS, metadata_errors="replace")
    except av.error.InvalidDataError as error:
        raise ItemError(Reason.UNDECODABLE, f"{path.name} is not a media file.") from error
    except av.FFmpegError as error:
        raise ItemError(Reason.UNDECODABLE, f"{path.name} cannot be opened: {error}.") from error
    with container:
        duration = None if container.format.name in RESTARTING else container.duration
        if duration is not None and duration > MAX_DURATION_S * av.time_base:
            raise ItemError(
                Reason.TOO_LONG,
                f"it lasts {duration / av.time_base:.0f} s; at most"
                f" {MAX_DURATION_S:.0f} s are allowed.",
            )
        yield container


def _check_readable(path: Path) -> None:
    # Ask the system, since FFmpeg also reports damaged content as a system error.
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):  # a pipe would be waited for
            raise ItemError(Reason.UNREADABLE, f"{path.name} is not a regular file.")
        if status.st_size == 0:
            raise ItemError(Reason.UNDECODABLE, f"{path.name} is empty.")
        path.open("rb").close()
    except FileNotFoundError as error:
        raise ItemError(Reason.FILE_MISSING, f"{path.name} is missing.") from error
    except OSError as error:
        raise ItemError(Reason.UNREADABLE, f"{path.name}: {error.strerror}.") from error


def limit_decoder(stream: AudioStream | VideoStream) -> None:
    """Limit the threads and the picture size of a stream's decoder."""
    # One thread is faster on small pictures, and the process pool already uses every core.
    stream.codec_context.thread_count = 1
    stream.codec_context.options = {"max_pixels": str(MAX_SIDE * MAX_SIDE)}


@dataclass
class PacketCount:
    """How many packets of a stream were read, and how many of them could not be decoded.

    Those before the first key picture do not count: a recording may begin between two.
    """

    total: int = 0
    bad: int = 0
    started: bool = False

    @property
    def damaged(self) -> bool:
        """Whether too many packets are bad to use the stream."""
        return self.bad > MIN_BAD and self.bad > MAX_BAD_SHARE * self.total

    def check(self, what: str) -> None:
        """Raise an ItemError when the stream is damaged; `what` is `sound` or `video`."""
        if self.damaged:
            raise ItemError(
                Reason.UNDECODABLE,
                f"{self.bad} of {self.total} packets of the {what} cannot be decoded.",
            )


def packets(
    container: InputContainer, streams: list[AudioStream | VideoStream]
) -> Iterator[Packet]:
    """The packets of some streams in file order; a damaged end of the file ends them."""
    import av

    if not streams:  # which PyAV would take for all streams
        return
    source = container.demux(streams)
    while True:
        try:
            packet = next(source, None)
        except av.FFmpegError:
            return
        if packet is None:
            return
        yield packet


def decode_packet(packet: Packet, count: PacketCount) -> list[av.VideoFrame | av.AudioFrame]:
    """The frames that a packet completes; none for a bad packet, which is only counted."""
    import av

    count.started |= packet.is_keyframe
    count.total += count.started and packet.size > 0  # the last, empty one flushes the decoder
    try:
        frames = packet.decode()
    except av.FFmpegError:
        count.bad += count.started
        return []
    count.bad += count.started and any(frame.is_corrupt for frame in frames)
    return frames  # type: ignore[return-value]


def frame_time_s(frame: av.VideoFrame | av.AudioFrame) -> float | None:
    """When a frame is presented, in seconds; None where the file does not tell."""
    if frame.pts is None or frame.time_base is None:
        return None
    return float(frame.pts * frame.time_base)
