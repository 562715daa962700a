"""Squares, similarity transforms and symmetric smoothing.

Coordinates: x points right, y down. Pixel centres are at integers, so a picture of width W extends
from -0.5 to W - 0.5.
"""

from __future__ import annotations

import numpy as np

from avsep.schema import ANALYSIS_SIZE

ANALYSIS_MARGIN = 1.5  # side of the analysis square relative to the side of the face box
ENDLESS = np.iinfo(np.int64).max  # length of a track that has not ended


def face_boxes(points: np.ndarray) -> np.ndarray:
    """The square around each face, with the longer extent of its points as side.

    Args:
        points: (T, 68, 2 or 3) in pixels.

    Returns:
        (T, 3) float64: centre x, centre y, side.
    """
    low = points[:, :, :2].min(axis=1).astype(np.float64)
    high = points[:, :, :2].max(axis=1).astype(np.float64)
    return np.concatenate([(low + high) / 2, (high - low).max(axis=1, keepdims=True)], axis=1)


def box_iou(a: np.ndarray, b: np.ndarray) -> float:
    """Intersection over union of two squares given as centre x, centre y, side."""
    half = (a[2] + b[2]) / 2
    overlap = np.minimum(np.minimum(a[2], b[2]), half - np.abs(a[:2] - b[:2]))
    if overlap.min() <= 0:
        return 0.0
    common = float(overlap.prod())
    return common / (float(a[2]) ** 2 + float(b[2]) ** 2 - common)


def window_mean(
    values: np.ndarray, half: int, *, start: int, stop: int, first: int = 0, total: int = ENDLESS
) -> np.ndarray:
    """Mean over `half` frames on each side; near the ends the window shrinks on both sides.

    A one-sided window would make the result lag or lead. The sum of each frame is always computed
    in the same order, so that blocks give the same bits as one pass.

    Args:
        values: (frames, ...), all frames that the windows need.
        half: number of frames on each side.
        start: first frame of the result.
        stop: frame after the last of the result.
        first: number of the frame in `values[0]`.
        total: number of frames of the whole track, where it is known.

    Returns:
        (stop - start, ...) float64.
    """
    frames = np.arange(start, stop)
    reach = np.minimum(half, np.minimum(frames, total - 1 - frames))
    shape = (-1,) + (1,) * (values.ndim - 1)
    result = np.zeros((stop - start, *values.shape[1:]))
    for offset in range(-half, half + 1):
        inside = (abs(offset) <= reach).reshape(shape)
        taken = values[np.clip(frames + offset - first, 0, len(values) - 1)]
        result += np.where(inside, taken, 0.0)
    return result / (2 * reach + 1).reshape(shape)


def analysis_squares(boxes: np.ndarray) -> np.ndarray:
    """The analysis squares of smoothed face boxes.

    Edges are measured from the left and top edge of the picture, not from pixel centres.

    Args:
        boxes: (T, 3) centre x, centre y and side, in source pixels.

    Returns:
        (T, 3) float32, the precision that is stored: left edge, top edge and side in source pixels.
    """
    side = boxes[:, 2] * ANALYSIS_MARGIN
    edges = boxes[:, :2] + 0.5 - side[:, None] / 2
    return np.concatenate([edges, side[:, None]], axis=1).astype(np.float32)


def to_analysis(points: np.ndarray, squares: np.ndarray) -> np.ndarray:
    """Map points from the source picture to the analysis frame.

    Args:
        points: (T, 68, 3) in source pixels.
        squares: (T, 3) from `analysis_squares`.

    Returns:
        (T, 68, 3) float64 in pixels of the 224-pixel analysis frame, z in the same unit.
    """
    scale = ANALYSIS_SIZE / squares[:, 2].astype(np.float64)
    result = points * scale[:, None, None]
    offset = (0.5 - squares[:, :2]) * scale[:, None] - 0.5
    result[:, :, :2] += offset[:, None, :]
    return result


def analysis_affine(squares: np.ndarray) -> np.ndarray:
    """`to_analysis` for x and y as affine matrices, (T, 2, 3) float64."""
    scale = ANALYSIS_SIZE / squares[:, 2].astype(np.float64)
    matrices = np.zeros((len(squares), 2, 3))
    matrices[:, 0, 0] = matrices[:, 1, 1] = scale
    matrices[:, :, 2] = (0.5 - squares[:, :2]) * scale[:, None] - 0.5
    return matrices


def similarity(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """The rotation, uniform scale and shift that best map source points to target points.

    The least-squares solution in closed form, with points as complex numbers. In two dimensions it
    equals the solution of Umeyama (IEEE PAMI 13(4), 1991) without reflection.

    Args:
        source: (..., N, 2).
        target: (N, 2), or (..., N, 2).

    Returns:
        (..., 2, 3) float64 affine matrices; equal source points give a scale of 0.
    """
    x = source[..., 0] + 1j * source[..., 1]
    y = target[..., 0] + 1j * target[..., 1]
    x_mean, y_mean = x.mean(axis=-1, keepdims=True), y.mean(axis=-1, keepdims=True)
    spread = (np.abs(x - x_mean) ** 2).sum(axis=-1)
    turn = (np.conj(x - x_mean) * (y - y_mean)).sum(axis=-1) / np.maximum(spread, 1e-12)
    shift = y_mean[..., 0] - turn * x_mean[..., 0]
    rows = [
        np.stack([turn.real, -turn.imag, shift.real], axis=-1),
        np.stack([turn.imag, turn.real, shift.imag], axis=-1),
    ]
    return np.stack(rows, axis=-2)


def compose(outer: np.ndarray, inner: np.ndarray) -> np.ndarray:
    """The affine matrices (..., 2, 3) that apply `inner` first and `outer` second."""
    linear = outer[..., :2] @ inner[..., :2]
    shift = (outer[..., :2] @ inner[..., 2:]) + outer[..., 2:]
    return np.concatenate([linear, shift], axis=-1)


def apply(matrices: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Map points (T, N, 2) by affine matrices (T, 2, 3)."""
    return points @ np.swapaxes(matrices[..., :2], -1, -2) + matrices[..., None, :, 2]
