"""Write an MP4 with the coded pictures of a file, untouched, and other sound."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from avsep.errors import ItemError, Reason, disk_fault
from avsep.files import atomic_path
from avsep.media.encode import Samples, add_sound, encode_audio
from avsep.media.streams import OpenTrack, open_video

if TYPE_CHECKING:
    from av.packet import Packet

_REORDERED = 16  # pictures that a codec holds back at most
# What MP4 takes and players show.
CODECS = ("h264", "hevc", "av1", "vp9", "mpeg4")


def check_copy(path: Path, start_s: float) -> None:
    """Check that the pictures of a file can be copied; see `copy_pictures`.

    Raises:
        ItemError: they cannot, and why; or the file cannot be opened or has no video.
    """
    with open_video(path) as track:
        for _ in _packets(track, start_s):
            pass


def copy_pictures(
    source: Path, target: Path, sound: Samples, start_s: float, *, rate_hz: int = 16_000
) -> None:
    """Write the coded pictures of `source` and new sound to `target`, an MP4, atomically.

    Rotation, mirroring, the shape of the pixels and the times of the pictures stay; an edit list
    hides what is not shown before `start_s`.

    Args:
        source: path of the file with the pictures.
        target: path of the file to write.
        sound: mono int16; its first sample is heard at `start_s`.
        start_s: presentation time in `source` that becomes 0.
        rate_hz: sample rate of the sound.

    Raises:
        ItemError: see `check_copy`; or MP4 does not take them.
        OSError: the disk is full.
    """
    import av

    try:
        _write(source, target, sound, start_s, rate_hz)
    except (av.FFmpegError, ValueError) as error:
        if disk_fault(error):
            raise
        why = error.strerror if isinstance(error, av.FFmpegError) else error
        raise _error(f"MP4 does not take them ({why})") from error


def _write(source: Path, target: Path, sound: Samples, start_s: float, rate_hz: int) -> None:
    import av

    with (
        open_video(source) as track,
        atomic_path(target) as temporary,
        # Not by PyAV: its files stay open when the disk fills up, and hold its space.
        temporary.open("wb") as file,
        av.open(file, "w", format="mp4", options={"fflags": "+bitexact"}) as container,
    ):
        copy: Any = container.add_stream_from_template(track.stream)
        voice = add_sound(container, rate_hz)
        written = 0
        for packet in _packets(track, start_s):
            assert packet.dts is not None
            due = int(float(packet.dts * packet.time_base) * rate_hz)
            while written < min(due, len(sound)):
                written = encode_audio(container, voice, sound, written, rate_hz)
            packet.stream = copy
            container.mux(packet)
        while written < len(sound):
            written = encode_audio(container, voice, sound, written, rate_hz)
        container.mux(voice.encode(None))


def _packets(track: OpenTrack, start_s: float) -> Iterator[Packet]:
    """The packets to write, with times from `start_s` on."""
    stream = track.stream
    if stream.codec_context.name not in CODECS and stream.codec.canonical_name not in CODECS:
        raise _error(f"MP4 players do not show {stream.codec.canonical_name}")
    if track.found.largest:
        raise _error("their size changes")
    last: int | None = None
    hidden: list[Packet] = []  # after the end, unless more is shown
    for packet in _stamped(track):
        assert packet.pts is not None
        assert packet.dts is not None
        if packet.has_sidedata("new_extradata") and last is not None:
            raise _error("their coding changes")
        ticks = round(start_s / packet.time_base)
        packet.pts, packet.dts = packet.pts - ticks, packet.dts - ticks
        if last is not None and packet.dts <= last:  # at the joint of two parts
            packet.dts = last + 1
        if packet.dts > packet.pts:
            raise _error("their time stamps are out of order")
        last = packet.dts
        if packet.is_discard and packet.pts >= 0:
            hidden.append(packet)
            continue
        if hidden:
            raise _error("some are to be left out")
        yield packet


def _stamped(track: OpenTrack) -> Iterator[Packet]:
    """The packets from the first key picture on, each with both of its time stamps."""
    early: list[Packet] = []  # whose time of decoding Matroska does not tell
    started = False
    for packet in track.packets():
        started |= packet.is_keyframe
        if not started or not packet.size:
            continue
        if packet.pts is None:
            raise _error("some have no time stamps")
        early.append(packet)
        if packet.dts is None:
            if len(early) > _REORDERED:
                raise _error("some have no time stamps")
            continue
        step = max(1, packet.duration or 1)
        for place, one in enumerate(early):
            if one.dts is None:
                one.dts = packet.dts - (len(early) - 1 - place) * step
        yield from early
        early = []
    if early:
        raise _error("some have no time stamps")


def _error(why: str) -> ItemError:
    return ItemError(Reason.UNDECODABLE, why)
