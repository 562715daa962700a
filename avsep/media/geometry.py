"""How stored pictures are displayed: square pixels, upright."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

from avsep.errors import ItemError, Reason

if TYPE_CHECKING:
    import av
    from av.video.stream import VideoStream

MAX_SIDE = 8192  # pixels


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
