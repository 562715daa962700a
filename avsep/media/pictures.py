"""Decoded pictures that are only converted to RGB when somebody needs their pixels.

Decoding a picture of slides takes a millisecond at 1920x1080, converting it to RGB six. A search
for faces needs few pictures, and a search for cuts few pixels of each.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np

from avsep.media.geometry import Geometry

if TYPE_CHECKING:
    import av

_GREY = 128


class DecodedPicture(Protocol):
    """A picture, upright and with square pixels."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape of the RGB picture: height, width, 3."""
        ...

    @property
    def dtype(self) -> np.dtype:
        """Type of the RGB picture: uint8."""
        ...

    def rgb(self) -> np.ndarray:
        """(height, width, 3) uint8; always the same array, so do not write to it."""
        ...

    def samples(self, side: int) -> np.ndarray:
        """(side, side, 3) uint8 RGB: single pixels from a regular grid over the picture."""
        ...


class Converter:
    """Makes the pictures of one stream.

    Args:
        shape: how the pictures are displayed.
    """

    def __init__(self, shape: Geometry) -> None:
        from av.video.reformatter import VideoReformatter

        self.shape = shape
        # A reformatter is prepared for one size; a change of size costs more than a picture.
        self.whole, self.sparse = VideoReformatter(), VideoReformatter()

    def picture(
        self, frame: av.VideoFrame, native: tuple[float, float] | None = None
    ) -> DecodedPicture:
        """A decoded frame.

        Args:
            frame: the frame, of any size and pixel format.
            native: its own width and height in square pixels, where sizes change.
        """
        return _Frame(self, frame, native)

    def blank(self) -> DecodedPicture:
        """The picture that stands for a stretch that is lost: grey, so that it shows no face."""
        return _Blank(self.shape)

    def upright(self, pixels: np.ndarray) -> np.ndarray:
        """Pixels as stored, mirrored and turned as they are displayed."""
        if self.shape.mirrored:
            pixels = pixels[:, ::-1]
        return np.ascontiguousarray(np.rot90(pixels, self.shape.rotation // 90))


class _Frame:
    dtype = np.dtype(np.uint8)

    def __init__(
        self, converter: Converter, frame: av.VideoFrame, native: tuple[float, float] | None
    ) -> None:
        self._converter, self._frame, self._native = converter, frame, native
        self._rgb: np.ndarray | None = None

    @property
    def shape(self) -> tuple[int, int, int]:
        width, height = self._converter.shape.displayed
        return height, width, 3

    def rgb(self) -> np.ndarray:
        if self._rgb is None:
            self._rgb = self._converted()
        return self._rgb

    def samples(self, side: int) -> np.ndarray:
        from av.video.reformatter import Interpolation

        if self._native is not None:  # it may stand between black bars
            height, width, _ = self.shape
            rows, columns = (
                ((np.arange(side) + 0.5) * length / side).astype(int) for length in (height, width)
            )
            return self.rgb()[rows[:, None], columns]
        exact = Interpolation.POINT | Interpolation.ACCURATE_RND | Interpolation.BITEXACT
        sparse = self._converter.sparse.reformat(
            self._frame, width=side, height=side, format="rgb24", interpolation=int(exact)
        )
        return self._converter.upright(sparse.to_ndarray())

    def _converted(self) -> np.ndarray:
        from av.video.reformatter import Interpolation

        # Bit-exact, since the fast paths differ between kinds of processors.
        exact = Interpolation.BILINEAR | Interpolation.ACCURATE_RND | Interpolation.BITEXACT
        shape = self._converter.shape
        width, height = self._size()
        scaled = self._converter.whole.reformat(
            self._frame, width=width, height=height, format="rgb24", interpolation=int(exact)
        )
        pixels = scaled.to_ndarray()
        if (width, height) != (shape.width, shape.height):
            left, top = (shape.width - width) // 2, (shape.height - height) // 2
            canvas = np.zeros((shape.height, shape.width, 3), np.uint8)
            canvas[top : top + height, left : left + width] = pixels
            pixels = canvas
        return self._converter.upright(pixels)

    def _size(self) -> tuple[int, int]:
        """Width and height within the shape: all of it, unless faces would be distorted."""
        shape = self._converter.shape
        if self._native is None:
            return shape.width, shape.height
        scale = min(shape.width / self._native[0], shape.height / self._native[1])
        width, height = (round(side * scale) for side in self._native)
        if width > 0.98 * shape.width and height > 0.98 * shape.height:
            return shape.width, shape.height
        return max(1, width), max(1, height)


class _Blank:
    dtype = np.dtype(np.uint8)

    def __init__(self, shape: Geometry) -> None:
        width, height = shape.displayed
        self._rgb = np.full((height, width, 3), _GREY, np.uint8)

    @property
    def shape(self) -> tuple[int, int, int]:
        height, width, _ = self._rgb.shape
        return height, width, 3

    def rgb(self) -> np.ndarray:
        return self._rgb

    def samples(self, side: int) -> np.ndarray:
        return np.full((side, side, 3), _GREY, np.uint8)
