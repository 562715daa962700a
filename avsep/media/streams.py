"""Open a file for its sound or its pictures, and decode them on the joined time line."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from avsep.errors import ItemError, Reason
from avsep.media.container import (
    MAX_SIDE,
    PacketCount,
    decode_packet,
    limit_decoder,
    open_local,
    packets,
)
from avsep.media.joints import Shifts
from avsep.media.survey import Survey, survey

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.packet import Packet


@dataclass(frozen=True)
class OpenTrack:
    """One stream of an open file.

    Attributes:
        container: the open file.
        stream: the audio or video stream, set to decode in one thread.
        found: the survey of the file.
    """

    container: InputContainer
    stream: Any
    found: Survey

    def packets(self) -> Iterator[Packet]:
        """The packets of the stream in file order, with stamps on the joined time line."""
        return joined_packets(self.container, [self.stream], self.found)

    def frames(self, count: PacketCount) -> Iterator[tuple[Packet, Any]]:
        """The frames of the stream in file order, each with the packet that completes it."""
        for packet in self.packets():
            for frame in decode_packet(packet, count):
                yield packet, frame


def joined_packets(
    container: InputContainer, streams: list[Any], found: Survey
) -> Iterator[Packet]:
    """The packets of some streams in file order, with stamps on the joined time line."""
    counts = dict.fromkeys((stream.index for stream in streams), 0)
    for packet in packets(container, streams):
        index = packet.stream.index
        found.shifts.get(index, Shifts()).apply(packet, counts[index])
        counts[index] += 1
        yield packet


@contextmanager
def open_video(path: Path) -> Iterator[OpenTrack]:
    """Open a file for its video.

    Raises:
        ItemError: see `survey` and `set_up`; or the file has no video.
    """
    found = survey(path)
    if found.video is None:
        raise ItemError(Reason.NO_VIDEO, "it has no video.")
    with open_local(path) as container:
        yield OpenTrack(container, set_up(container, found.video), found)


@contextmanager
def open_audio(path: Path) -> Iterator[OpenTrack]:
    """Open a file for its sound.

    Raises:
        ItemError: see `survey`; or the file has no sound.
    """
    found = survey(path)
    if found.audio is None:
        raise ItemError(Reason.NO_AUDIO, "it has no sound.")
    with open_local(path) as container:
        yield OpenTrack(container, set_up(container, found.audio), found)


def set_up(container: InputContainer, index: int) -> Any:
    """A stream, with the threads and the picture size of its decoder limited.

    Raises:
        ItemError: its pictures are larger than `MAX_SIDE`.
    """
    stream: Any = container.streams[index]
    context = stream.codec_context
    limit_decoder(stream)
    if stream.type == "video" and max(context.width, context.height) > MAX_SIDE:
        raise ItemError(
            Reason.UNDECODABLE,
            f"its pictures are {context.width}x{context.height}; at most {MAX_SIDE} are allowed.",
        )
    return stream
