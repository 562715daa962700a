"""Grey pictures around faces, the only part of a frame that is kept until its mouth is cropped."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

# Side of the kept picture relative to the side of the face box: on a tilted head the mouth crop
# reaches 0.85 below the centre of the box.
CROP_SCALE = 1.75
LOST_CROP_SCALE = 2.4  # a face that is lost for a moment may come back some way off


@dataclass(frozen=True, eq=False)
class GreyCrop:
    """A grey picture of part of a frame.

    Attributes:
        image: (h, w) uint8.
        to_source: (2, 3) affine matrix from pixels of `image` to pixels of the source.
    """

    image: np.ndarray
    to_source: np.ndarray


def grey_crop(frame: np.ndarray, box: np.ndarray, scale: float, max_side: int) -> GreyCrop:
    """The grey picture around a face, shrunk by area where it is too large.

    Args:
        frame: (H, W, 3) uint8 RGB.
        box: (3,) centre x, centre y and side of the face box, in pixels.
        scale: side of the picture relative to the side of the box.
        max_side: largest side of the result in pixels.
    """
    height, width = frame.shape[:2]
    half = float(box[2]) * scale / 2
    left, right = _span(float(box[0]), half, width)
    top, bottom = _span(float(box[1]), half, height)
    grey = cv2.cvtColor(frame[top:bottom, left:right], cv2.COLOR_RGB2GRAY)
    shrink = max(1.0, 2 * half / max_side)
    out_w = max(1, round(grey.shape[1] / shrink))
    out_h = max(1, round(grey.shape[0] / shrink))
    step_x, step_y = grey.shape[1] / out_w, grey.shape[0] / out_h
    if (out_h, out_w) != grey.shape:
        grey = cv2.resize(grey, (out_w, out_h), interpolation=cv2.INTER_AREA)
    # Pixel centres are at integers: the middle of the first pixel lies half a step inside.
    to_source = np.array(
        [
            [step_x, 0.0, left + (step_x - 1) / 2],
            [0.0, step_y, top + (step_y - 1) / 2],
        ]
    )
    return GreyCrop(image=grey, to_source=to_source)


def _span(centre: float, half: float, length: int) -> tuple[int, int]:
    """First pixel, and pixel after the last, of a span inside 0..length that is never empty."""
    start = min(max(0, int(np.floor(centre - half))), length - 1)
    stop = max(min(length, int(np.ceil(centre + half)) + 1), start + 1)
    return start, stop
