"""Probe a media file in one pass over its packets, decoding only its first frames."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from avsep.errors import ItemError, Reason
from avsep.media.container import PacketCount, decode_packet, frame_time_s, open_local
from avsep.media.geometry import Geometry, geometry
from avsep.media.streams import joined_packets, set_up
from avsep.media.survey import Survey, survey

if TYPE_CHECKING:
    from av.packet import Packet
    from av.video.stream import VideoStream


@dataclass(frozen=True, kw_only=True)
class MediaInfo:
    """Facts of a media file. Times are seconds of presentation time; a missing stream has zeros.

    Attributes:
        has_video: whether a video stream can be decoded; a cover picture is not a video.
        has_audio: whether an audio stream can be decoded.
        width: width as displayed (square pixels, rotated), in pixels.
        height: height as displayed, in pixels.
        rotation: rotation for display, 0, 90, 180 or 270 degrees counter-clockwise.
        fps: average number of pictures per second.
        num_pictures: number of packets in the video stream.
        video_start_s: time of the first picture that can be decoded.
        video_end_s: end of the last picture.
        key_times_s: times of the key pictures, sorted.
        audio_start_s: time of the first sample.
        audio_end_s: end of the last sample.
        audio_rate_hz: sample rate of the source.
        channels: number of audio channels of the source.
        video_codec: name of the video codec, e.g. `h264`.
        audio_codec: name of the audio codec, e.g. `aac`.
    """

    has_video: bool = False
    has_audio: bool = False
    width: int = 0
    height: int = 0
    rotation: int = 0
    fps: float = 0.0
    num_pictures: int = 0
    video_start_s: float = 0.0
    video_end_s: float = 0.0
    key_times_s: tuple[float, ...] = ()
    audio_start_s: float = 0.0
    audio_end_s: float = 0.0
    audio_rate_hz: int = 0
    channels: int = 0
    video_codec: str = ""
    audio_codec: str = ""

    @property
    def start_s(self) -> float:
        """First moment of both streams, or of the only one."""
        return max((start_s for start_s, _ in self._spans()), default=0.0)

    @property
    def end_s(self) -> float:
        """Last moment of both streams; before `start_s` when they do not overlap."""
        return min((end_s for _, end_s in self._spans()), default=0.0)

    @property
    def apart_s(self) -> float:
        """The longer of the times at the start and at the end with only one of the streams."""
        return max(
            abs(self.video_start_s - self.audio_start_s), abs(self.video_end_s - self.audio_end_s)
        )

    def _spans(self) -> list[tuple[float, float]]:
        spans = []
        if self.has_video:
            spans.append((self.video_start_s, self.video_end_s))
        if self.has_audio:
            spans.append((self.audio_start_s, self.audio_end_s))
        return spans


def probe(path: Path) -> MediaInfo:
    """Probe a media file. This is cheap: only the first picture and the first sound are decoded.

    Raises:
        ItemError: the file is missing, unreadable, not a media file, too large or too long, or
            nothing of a stream can be decoded.
    """
    found = survey(path)
    with open_local(path) as container:
        video = None if found.video is None else set_up(container, found.video)
        audio = None if found.audio is None else set_up(container, found.audio)
        scans: dict[int, _Scan] = {
            stream.index: _Scan() for stream in (video, audio) if stream is not None
        }
        streams = [stream for stream in (video, audio) if stream is not None]
        for packet in joined_packets(container, streams, found):
            scans[packet.stream.index].add(packet, video if packet.stream is video else None, found)
        pictures = scans[video.index] if video else _Scan()
        sound = scans[audio.index] if audio else _Scan()
        pictures.count.check("video")
        sound.count.check("sound")
        return MediaInfo(
            **_picture_facts(pictures, video.codec_context.name if video else ""),
            **_sound_facts(sound, audio.codec_context.name if audio else ""),
        )


@dataclass
class _Scan:
    """Facts from the packets of one stream."""

    count: PacketCount = field(default_factory=PacketCount)
    num_packets: int = 0
    start_s: float = math.inf
    end_s: float = -math.inf
    first_s: float | None = None  # time of the first decoded frame
    key_times_s: list[float] = field(default_factory=list)
    geometry: Geometry | None = None
    rate_hz: int = 0
    channels: int = 0

    def add(self, packet: Packet, video: VideoStream | None, found: Survey) -> None:
        ticks = packet.pts if packet.pts is not None else packet.dts
        # Discarded packets are outside the edit list: they are decoded, but never shown.
        if packet.size and ticks is not None and packet.time_base and not packet.is_discard:
            time_s = float(ticks * packet.time_base)
            self.num_packets += 1
            self.start_s = min(self.start_s, time_s)
            self.end_s = max(self.end_s, time_s + float((packet.duration or 0) * packet.time_base))
            if packet.is_keyframe:
                self.key_times_s.append(time_s)
        if self.first_s is None:
            self._decode(packet, video, found)

    def _decode(self, packet: Packet, video: VideoStream | None, found: Survey) -> None:
        for frame in decode_packet(packet, self.count):
            if self.first_s is not None:
                continue
            time_s = frame_time_s(frame)
            self.first_s = self.start_s if time_s is None else time_s
            if video is not None:
                self.geometry = geometry(video, frame, found.largest)  # type: ignore[arg-type]
            else:
                self.rate_hz = frame.sample_rate  # type: ignore[union-attr]
                self.channels = frame.layout.nb_channels  # type: ignore[union-attr]


def _picture_facts(scan: _Scan, codec: str) -> dict[str, Any]:
    if scan.num_packets == 0:
        return {}
    if scan.geometry is None or scan.first_s is None:
        raise ItemError(Reason.UNDECODABLE, "none of its pictures can be decoded.")
    _check_first(scan.first_s, "pictures")
    width, height = scan.geometry.displayed
    duration_s = scan.end_s - scan.start_s
    return {
        "has_video": True,
        "width": width,
        "height": height,
        "rotation": scan.geometry.rotation,
        "fps": scan.num_packets / duration_s if duration_s > 0 else 0.0,
        "num_pictures": scan.num_packets,
        # A recording may begin between key pictures, with packets that give no picture.
        "video_start_s": max(scan.start_s, scan.first_s),
        "video_end_s": scan.end_s,
        "key_times_s": tuple(sorted(scan.key_times_s)),
        "video_codec": codec,
    }


def _sound_facts(scan: _Scan, codec: str) -> dict[str, Any]:
    if scan.num_packets == 0:
        return {}
    if scan.first_s is None:
        raise ItemError(Reason.UNDECODABLE, "none of its sound can be decoded.")
    _check_first(scan.first_s, "sound")
    return {
        "has_audio": True,
        # The first packet may contain samples that the decoder skips (encoder delay).
        "audio_start_s": scan.first_s,
        "audio_end_s": scan.end_s,
        "audio_rate_hz": scan.rate_hz,
        "channels": scan.channels,
        "audio_codec": codec,
    }


def _check_first(first_s: float, what: str) -> None:
    """Refuse a stream that begins without time stamps, as Matroska has no negative ones."""
    if not math.isfinite(first_s):
        raise ItemError(
            Reason.UNDECODABLE,
            f"its first {what} have no time stamps, so nothing tells which sound belongs to which"
            " picture.",
        )
