"""The pictures that faces are searched in: arrays, or ones that are converted when needed."""

from __future__ import annotations

from typing import Protocol

import numpy as np


class Picture(Protocol):
    """A picture whose pixels may not be there yet, as `avsep.media.decode.read_pictures` yields."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the RGB picture: height, width, 3."""
        ...

    @property
    def dtype(self) -> np.dtype:
        """Type of the RGB picture: uint8."""
        ...

    def rgb(self) -> np.ndarray:
        """(height, width, 3) uint8; always the same array."""
        ...

    def samples(self, side: int) -> np.ndarray:
        """(side, side, 3) uint8 RGB: single pixels from a regular grid over the picture."""
        ...


class ArrayPicture:
    """An array (height, width, 3) uint8 RGB as a picture."""

    def __init__(self, pixels: np.ndarray) -> None:
        self._pixels = pixels

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the array."""
        return self._pixels.shape

    @property
    def dtype(self) -> np.dtype:
        """Type of the array."""
        return self._pixels.dtype

    def rgb(self) -> np.ndarray:
        """The array itself."""
        return self._pixels

    def samples(self, side: int) -> np.ndarray:
        """(side, side, 3) uint8 RGB: single pixels from a regular grid over the picture."""
        import cv2

        return cv2.resize(self._pixels, (side, side), interpolation=cv2.INTER_NEAREST)


def as_picture(frame: np.ndarray | Picture) -> Picture:
    """An array as a picture; pictures stay as they are."""
    return ArrayPicture(frame) if isinstance(frame, np.ndarray) else frame
