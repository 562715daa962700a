"""How stored pictures are displayed: square pixels, upright."""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from avsep.errors import ItemError, Reason

if TYPE_CHECKING:
    import av
    from av.video.stream import VideoStream

MAX_SIDE = 8192  # pixels


@dataclass(frozen=True, kw_only=True)
class Geometry:
    """How to display stored pictures: scale them to square pixels, mirror them, then rotate.

    Attributes:
        width: width of the scaled picture before the rotation, in pixels.
        height: height of the scaled picture before the rotation, in pixels.
        rotation: 0, 90, 180 or 270 degrees counter-clockwise.
        mirrored: whether left and right are swapped before the rotation.
    """

    width: int
    height: int
    rotation: int
    mirrored: bool = False

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
    rotation, mirrored = _orientation(frame)
    return Geometry(width=width, height=frame.height, rotation=rotation, mirrored=mirrored)


def _orientation(frame: av.VideoFrame) -> tuple[int, bool]:
    """Degrees counter-clockwise, and whether the picture is mirrored first."""
    from av.sidedata.sidedata import Type

    side_data: Any = frame.side_data  # its stub has the keys of the type wrong
    data = side_data.get(Type.DISPLAYMATRIX)
    if data is None:
        return 0, False
    # A point (x, y) is shown at (a x + c y, b x + d y), y downwards, in units of 1/65536.
    a, b, _, c, d = struct.unpack("=5i", bytes(data)[:20])
    mirrored = a * d - b * c < 0
    if mirrored:
        a, b = -a, -b
    return round(math.degrees(math.atan2(-b, a)) / 90) * 90 % 360, mirrored
