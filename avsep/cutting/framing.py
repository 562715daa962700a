"""Which part of the picture a clip shows: the face that speaks, and no other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from avsep.cutting.activity import Face
from avsep.faces.geometry import ANALYSIS_MARGIN


@dataclass(frozen=True)
class Frame:
    """A part of the picture, in pixels; its sides are even, as H.264 needs them."""

    left: int
    top: int
    right: int
    bottom: int


def clip_frame(
    face: Face,
    others: Sequence[Face],
    start: int,
    stop: int,
    *,
    margin: float,
    width: int,
    height: int,
) -> Frame | None:
    """The part of the picture for a span; None where another face is too close to be left out.

    Args:
        face: the face to show.
        others: the other faces of the recording.
        start: first frame of the span.
        stop: frame after the last.
        margin: side of the part relative to the square around the face.
        width: width of the pictures.
        height: height of the pictures.
    """
    own = _extent(face, start, stop, ANALYSIS_MARGIN)
    if own is None:
        return None
    squares = _extent(face, start, stop, 1 / margin)
    assert squares is not None
    low, high = np.maximum(squares[0], 0), np.minimum(squares[1], [width, height])
    for other in others:
        box = _extent(other, start, stop, ANALYSIS_MARGIN)
        if box is None or (box[0] >= high).any() or (box[1] <= low).any():
            continue
        # The side on which the two are furthest apart is moved to the middle between them.
        gaps = np.stack([own[0] - box[1], box[0] - own[1]])
        side, axis = np.unravel_index(int(np.argmax(gaps)), gaps.shape)
        if gaps[side, axis] <= 0:
            return None
        if side == 0:
            low[axis] = max(low[axis], (own[0] + box[1])[axis] / 2)
        else:
            high[axis] = min(high[axis], (own[1] + box[0])[axis] / 2)
    left, top = (int(value) for value in np.ceil(low))
    right, bottom = (int(value) for value in np.floor(high))
    right, bottom = right - (right - left) % 2, bottom - (bottom - top) % 2
    if right - left < 16 or bottom - top < 16:
        return None
    return Frame(left, top, right, bottom)


def _extent(
    face: Face, start: int, stop: int, shrink: float
) -> tuple[np.ndarray, np.ndarray] | None:
    """The corners (2,) of what a face covers in a span; None where it is not there.

    Args:
        face: the face.
        start: first frame of the span.
        stop: frame after the last.
        shrink: side of its square relative to the side that counts.
    """
    first, last = max(start, face.start), min(stop, face.stop)
    if first >= last:
        return None
    squares = face.squares[first - face.start : last - face.start].astype(np.float64)
    side = squares[:, 2:] / shrink
    corner = squares[:, :2] + (squares[:, 2:] - side) / 2
    return corner.min(axis=0), (corner + side).max(axis=0)
