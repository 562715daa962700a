"""How stored pictures are displayed: square pixels, upright."""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from avsep.errors import ItemError, Reason
from avsep.media.container import MAX_SIDE

if TYPE_CHECKING:
    import av
    from av.video.stream import VideoStream


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


def geometry(
    stream: VideoStream, frame: av.VideoFrame, largest: tuple[int, int] | None = None
) -> Geometry:
    """The geometry of a stream, from its first picture.

    Args:
        stream: the video stream.
        frame: its first picture.
        largest: width and height of the largest picture where the size changes.

    Raises:
        ItemError: the picture is larger than `MAX_SIDE`.
    """
    width, height = largest or (frame.width, frame.height)
    width = round(width * _pixel_aspect(stream))
    if max(width, height) > MAX_SIDE:
        raise ItemError(
            Reason.UNDECODABLE,
            f"its pictures are {width}x{height}; at most {MAX_SIDE} are allowed.",
        )
    rotation, mirrored = _orientation(frame)
    return Geometry(width=width, height=height, rotation=rotation, mirrored=mirrored)


def native_size(stream: VideoStream, frame: av.VideoFrame) -> tuple[float, float]:
    """Width and height of one picture in square pixels, before the rotation."""
    return float(frame.width * _pixel_aspect(stream)), float(frame.height)


def _pixel_aspect(stream: VideoStream) -> Fraction:
    aspect = stream.sample_aspect_ratio
    # Values outside are errors of the writer; real anamorphic pictures are within these limits.
    return aspect if aspect and Fraction(1, 3) <= aspect <= 3 else Fraction(1)


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
