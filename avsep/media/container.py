"""Open local media files: no other protocols, no playlists, bounded sizes; decode their packets."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from avsep.errors import ItemError, Reason

if TYPE_CHECKING:
    import av
    from av.audio.stream import AudioStream
    from av.codec.context import CodecContext
    from av.container import InputContainer
    from av.packet import Packet
    from av.stream import Stream
    from av.video.stream import VideoStream

MAX_SIDE = 8192  # pixels
MAX_DURATION_S = 4 * 3600.0
MAX_STREAMS = 64
MAX_BAD_SHARE = 0.05  # share of packets that cannot be decoded, above which a stream is damaged
MIN_BAD = 2  # so many bad packets never make a stream damaged, however short it is

# Containers with the media inside. Playlists and scripts (hls, concat, dash, sdp) are left out on
# purpose: they make FFmpeg open other files.
FORMATS = "mov,matroska,webm,avi,mpegts,mpeg,flv,asf,ogg,mxf,dv"

_OPTIONS = {
    "protocol_whitelist": "file",
    "format_whitelist": FORMATS,
    "max_streams": str(MAX_STREAMS),
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
        if container.duration is not None and container.duration > MAX_DURATION_S * av.time_base:
            raise ItemError(
                Reason.TOO_LONG,
                f"it lasts {container.duration / av.time_base:.0f} s; at most"
                f" {MAX_DURATION_S:.0f} s are allowed.",
            )
        yield container


def _check_readable(path: Path) -> None:
    # Ask the system, since FFmpeg also reports damaged content as a system error.
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # a pipe would be waited for
            raise ItemError(Reason.UNREADABLE, f"{path.name} is not a regular file.")
        path.open("rb").close()
    except FileNotFoundError as error:
        raise ItemError(Reason.FILE_MISSING, f"{path.name} is missing.") from error
    except OSError as error:
        raise ItemError(Reason.UNREADABLE, f"{path.name}: {error.strerror}.") from error


def video_stream(container: InputContainer) -> VideoStream | None:
    """The main video stream, set to decode in one thread; None when there is none.

    Raises:
        ItemError: its codec is unknown, or its pictures are larger than `MAX_SIDE`.
    """
    from av.stream import Disposition

    streams = [s for s in container.streams.video if Disposition.attached_pic not in s.disposition]
    if not streams:
        return None
    best = container.streams.best("video")
    stream = best if best in streams else streams[0]
    _codec(stream, "video")
    context = stream.codec_context
    if max(context.width, context.height) > MAX_SIDE:
        raise ItemError(
            Reason.UNDECODABLE,
            f"its pictures are {context.width}x{context.height}; at most {MAX_SIDE} are allowed.",
        )
    return stream


def audio_stream(container: InputContainer) -> AudioStream | None:
    """The main audio stream; None when there is none.

    Raises:
        ItemError: its codec is unknown.
    """
    if not container.streams.audio:
        return None
    stream = container.streams.best("audio") or container.streams.audio[0]
    _codec(stream, "sound")
    return cast("AudioStream", stream)


@contextmanager
def open_video(path: Path) -> Iterator[tuple[InputContainer, VideoStream]]:
    """Open a file for its video.

    Raises:
        ItemError: see `open_local` and `video_stream`; or the file has no video.
    """
    with open_local(path) as container:
        stream = video_stream(container)
        if stream is None:
            raise ItemError(Reason.NO_VIDEO, "it has no video.")
        yield container, stream


@contextmanager
def open_audio(path: Path) -> Iterator[tuple[InputContainer, AudioStream]]:
    """Open a file for its sound.

    Raises:
        ItemError: see `open_local` and `audio_stream`; or the file has no sound.
    """
    with open_local(path) as container:
        stream = audio_stream(container)
        if stream is None:
            raise ItemError(Reason.NO_AUDIO, "it has no sound.")
        yield container, stream


def _codec(stream: Stream, what: str) -> None:
    """Limit the threads and the picture size of a stream's decoder."""
    context: CodecContext | None = getattr(stream, "codec_context", None)
    if context is None:
        raise ItemError(Reason.UNDECODABLE, f"FFmpeg does not know the codec of its {what}.")
    # One thread is faster on small pictures, and the process pool already uses every core.
    context.thread_count = 1
    context.options = {"max_pixels": str(MAX_SIDE * MAX_SIDE)}


@dataclass
class PacketCount:
    """How many packets of a stream were read, and how many of them could not be decoded."""

    total: int = 0
    bad: int = 0

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

    count.total += packet.size > 0  # the last, empty packet only flushes the decoder
    try:
        frames = packet.decode()
    except av.FFmpegError:
        count.bad += 1
        return []
    count.bad += any(frame.is_corrupt for frame in frames)
    return frames  # type: ignore[return-value]


def decoded_frames(
    container: InputContainer, stream: AudioStream | VideoStream, count: PacketCount
) -> Iterator[tuple[Packet, Any]]:
    """The frames of a stream in file order, each with the packet that completes it."""
    for packet in packets(container, [stream]):
        for frame in decode_packet(packet, count):
            yield packet, frame


def frame_time_s(frame: av.VideoFrame | av.AudioFrame) -> float | None:
    """When a frame is presented, in seconds; None where the file does not tell."""
    if frame.pts is None or frame.time_base is None:
        return None
    return float(frame.pts * frame.time_base)


@dataclass(frozen=True, kw_only=True)
class Geometry:
    """How to display stored pictures: scale them to square pixels, then rotate.

    Attributes:
        width: width of the scaled picture before the rotation, in pixels.
        height: height of the scaled picture before the rotation, in pixels.
        rotation: 0, 90, 180 or 270 degrees counter-clockwise.
    """

    width: int
    height: int
    rotation: int

    @property
    def displayed(self) -> tuple[int, int]:
        """Width and height as displayed, in pixels."""
        turned = self.rotation in (90, 270)
        return (self.height, self.width) if turned else (self.width, self.height)


def geometry(stream: VideoStream, frame: av.VideoFrame) -> Geometry:
    """The geometry of a stream, from its first picture.

    Raises:
        ItemError: the picture is larger than `MAX_SIDE`.
    """
    width = frame.width
    aspect = stream.sample_aspect_ratio
    # Values outside are errors of the writer; real anamorphic pictures are within these limits.
    if aspect and aspect != 1 and Fraction(1, 3) <= aspect <= 3:
        width = round(width * aspect)
    if max(width, frame.height) > MAX_SIDE:
        raise ItemError(
            Reason.UNDECODABLE,
            f"its pictures are {width}x{frame.height}; at most {MAX_SIDE} are allowed.",
        )
    rotation = round(frame.rotation / 90) * 90 % 360
    return Geometry(width=width, height=frame.height, rotation=rotation)
