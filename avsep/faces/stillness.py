"""Whether a face never moves, as in a photograph on the wall.

The landmarks of a photograph move together, however the camera pans or zooms. What is left after
the place, size and turn of the whole face are removed is noise, which is averaged away over a few
frames, and larger on smaller faces. Measured: photographs with noise, compression, flicker or a
moving camera reach 0.010 at 38 pixels, 0.008 at 60, 0.0045 at 100 and more; drawn and real talkers
reach at least 0.016 within two seconds.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np

from avsep.schema import DETECTED, TURNED

# Movement below which a face is still, relative to its size: STILL + STILL_PX / side in pixels.
STILL = 0.0035
STILL_PX = 0.3
WINDOW = 50  # frames; a short remark in a long silence must count
SMOOTHING = 5  # frames
SHORTEST = 2 * SMOOTHING  # a shorter window says nothing


class Points(Protocol):
    """An array, or one on disk that is read span by span."""

    def __getitem__(self, span: slice, /) -> np.ndarray:
        """The landmarks of some frames."""
        ...


def is_still(points: Points, valid: np.ndarray, face_px: float) -> bool:
    """Whether a face does not move at any time.

    Args:
        points: (T, 68, 3) landmarks in the analysis frame.
        valid: (T,) uint8, see `schema.Landmarks`.
        face_px: side of the face box in the source, in pixels.
    """
    limit = STILL + STILL_PX / face_px
    for start in range(0, len(valid), WINDOW // 2):
        span = slice(start, start + WINDOW)
        seen = points[span][np.isin(valid[span], (DETECTED, TURNED))]
        if len(seen) >= SHORTEST and movement(seen) >= limit:
            return False
    return True


def movement(points: np.ndarray) -> float:
    """How much a face changes its shape, relative to its size.

    Args:
        points: (T, 68, 2 or 3), T at least `SMOOTHING`.
    """
    values = points.astype(np.float64)
    shapes = values[..., 0] + 1j * values[..., 1]
    shapes -= shapes.mean(axis=1, keepdims=True)
    shapes /= np.maximum(np.sqrt((np.abs(shapes) ** 2).mean(axis=1, keepdims=True)), 1e-9)
    turns = (np.conj(shapes) * shapes[0]).sum(axis=1, keepdims=True)
    shapes *= turns / np.maximum(np.abs(turns), 1e-9)
    sums = np.cumsum(np.concatenate([np.zeros((1, shapes.shape[1])), shapes]), axis=0)
    smooth = (sums[SMOOTHING:] - sums[:-SMOOTHING]) / SMOOTHING
    return float(np.sqrt(smooth.var(axis=0).mean()))
