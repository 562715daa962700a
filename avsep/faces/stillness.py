"""Whether a face never moves, as in a photograph on the wall.

The landmarks of a photograph move together, however the camera pans or zooms. What is left after
the place, size and turn of the whole face are removed is noise, which is averaged away over a few
frames, and larger on smaller faces. Measured: photographs with noise, compression, flicker or a
moving camera reach 0.010 at 38 pixels, 0.008 at 60, 0.0045 at 100 and more; drawn and real talkers
reach at least 0.016 within two seconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from avsep.schema import ANALYSIS_SIZE, DETECTED, MISSING, TURNED

# Movement below which a face is still, relative to its size: STILL + STILL_PX / side in pixels.
STILL = 0.0035
STILL_PX = 0.3
WINDOW = 50  # frames; a short remark in a long silence must count
SMOOTHING = 5  # frames
SHORTEST = 2 * SMOOTHING  # a shorter window says nothing


class Rows(Protocol):
    """An array, or one on disk that is read span by span."""

    def __getitem__(self, span: slice, /) -> np.ndarray:
        """The values of some frames."""
        ...


@dataclass(frozen=True, kw_only=True, eq=False)
class FaceSpan:
    """A span of T frames in which a face is tracked.

    Attributes:
        points: (T, 68, 3) landmarks in the analysis frame.
        squares: (T, 3) left, top and side of the analysis square, in pixels of the source.
        valid: (T,) uint8, see `schema.Landmarks`.
        face_px: side of the face box in the source, in pixels.
    """

    points: Rows
    squares: Rows
    valid: np.ndarray
    face_px: float


def never_moves(spans: Sequence[FaceSpan], width: int, height: int) -> bool:
    """Whether a face is still, as in a photograph; False where too little of it is seen to tell.

    At the edge of the picture landmarks are guesses, so frames in which a face is cut off do not
    count if it is also seen whole for as long as a judgement takes.

    Args:
        spans: where the face is tracked.
        width: width of the picture, in pixels.
        height: height of the picture, in pixels.
    """
    whole = [_whole(span, width, height) for span in spans]
    enough = sum(int(frames.sum()) for frames in whole) >= WINDOW
    moved = [
        moves(span.points, np.where(frames, span.valid, MISSING) if enough else span.valid,
              span.face_px)
        for span, frames in zip(spans, whole, strict=True)
    ]  # fmt: skip
    return False in moved and True not in moved


def moves(points: Rows, valid: np.ndarray, face_px: float) -> bool | None:
    """Whether a face moves at any time; None where no stretch of it is long enough to tell.

    Args:
        points: (T, 68, 3) landmarks in the analysis frame.
        valid: (T,) uint8, see `schema.Landmarks`.
        face_px: side of the face box in the source, in pixels.
    """
    limit = STILL + STILL_PX / face_px
    measured = False
    for start in range(0, len(valid), WINDOW // 2):
        span = slice(start, start + WINDOW)
        seen = points[span][np.isin(valid[span], (DETECTED, TURNED))]
        if len(seen) < SHORTEST:
            continue
        if movement(seen) >= limit:
            return True
        measured = True
    return False if measured else None


def _whole(face: FaceSpan, width: int, height: int) -> np.ndarray:
    """(T,) whether a face is visible with all its landmarks in the picture."""
    inside = face.valid != MISSING
    for start in range(0, len(inside), WINDOW):
        span = slice(start, start + WINDOW)
        squares = face.squares[span]
        points = face.points[span][..., :2].astype(np.float32)
        places = points * (squares[:, None, 2:] / ANALYSIS_SIZE) + squares[:, None, :2]
        inside[span] &= ((places >= 0) & (places < (width, height))).all((1, 2))
    return inside


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
