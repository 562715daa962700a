"""Damage to the video of a speaker: what a camera, a network or a hand in front of a mouth does.

Each has a severity from 0 (none) to 1, and changes lips and landmarks as a damaged recording would
have changed them:

- `covered`: the mouth is hidden for that share of the time; its landmarks stand still.
- `low-resolution`: the mouth has up to twelve times fewer pixels per side; landmarks get noise.
- `frozen`: the video stands still for that share of the time, in one go.
- `dropped`: that share of the frames is lost; each shows the frame before.
- `black`: no picture for that share of the time, and no face.
- `late`, `early`: the video is behind or ahead of the sound by up to 200 ms.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from avsep.schema import MISSING

MAX_SHIFT_FRAMES = 5  # 200 ms
MAX_BLOCK = 12  # pixels per side that become one
LANDMARK_NOISE_PX = 3.0  # of the analysis frame, at the lowest resolution
COVER = 128  # grey value of what hides a mouth
_MOUTH = slice(48, 68)  # of the 68 landmarks


def source_frames(
    kind: str, severity: float, num_frames: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Which frame of the video is shown at each time, (F,)."""
    frames = np.arange(num_frames)
    if kind in ("late", "early"):
        step = round(severity * MAX_SHIFT_FRAMES) * (-1 if kind == "late" else 1)
        return np.clip(frames + step, 0, num_frames - 1)
    if kind == "frozen":
        first, stop = _span(severity, num_frames, rng)
        return np.where((frames >= first) & (frames < stop), first, frames)
    if kind == "dropped":
        count = min(num_frames - 1, math.ceil(severity * num_frames))
        lost = 1 + rng.choice(num_frames - 1, count, replace=False) if count else frames[:0]
        shown = frames.copy()
        shown[lost] = 0
        return np.maximum.accumulate(shown)
    return frames


def damage_video(
    lips: NDArray[np.uint8] | None,
    landmarks: NDArray[np.float32] | None,
    valid: NDArray[np.uint8] | None,
    kind: str,
    severity: float,
    rng: np.random.Generator,
) -> tuple[NDArray[np.uint8] | None, NDArray[np.float32] | None, NDArray[np.uint8] | None]:
    """Damage the video of a voice; the arrays that are given are not changed.

    Args:
        lips: mouths, (F, H, W) uint8; None for none.
        landmarks: (F, 68, 3) float32; None for none.
        valid: marks of the landmarks, (F,) uint8; None for none.
        kind: one of `avsep.damage.VISUAL`.
        severity: 0 to 1.
        rng: draws where the damage is; the same state damages lips and landmarks alike.

    Returns:
        Lips, landmarks and marks; None for what was None.
    """
    arrays = (lips, landmarks, valid)
    num_frames = next(len(array) for array in arrays if array is not None)
    shown = source_frames(kind, severity, num_frames, rng)
    first, stop = _span(severity, num_frames, rng) if kind in ("covered", "black") else (0, 0)
    if lips is not None:
        lips = lips[shown]
        if kind == "covered":
            side = lips.shape[1] // 6
            lips[first:stop, side:-side, side:-side] = COVER
        elif kind == "black":
            lips[first:stop] = 0
        elif kind == "low-resolution":
            lips = _coarse(lips, severity)
    if landmarks is not None:
        landmarks = landmarks[shown]
        if kind == "covered" and stop > first:
            still = landmarks[first, _MOUTH] - landmarks[first].mean(axis=0)
            middle = landmarks[first:stop].mean(axis=1, keepdims=True)
            landmarks[first:stop, _MOUTH] = middle + still
        elif kind == "black":
            landmarks[first:stop] = 0
        elif kind == "low-resolution":
            noise = rng.standard_normal(landmarks.shape, np.float32)
            landmarks = landmarks + np.float32(LANDMARK_NOISE_PX * severity) * noise
    if valid is not None:
        valid = valid[shown]
        if kind == "black":
            valid[first:stop] = MISSING
    return lips, landmarks, valid


def _span(severity: float, num_frames: int, rng: np.random.Generator) -> tuple[int, int]:
    length = min(num_frames, math.ceil(severity * num_frames))
    first = int(rng.integers(num_frames - length + 1))
    return first, first + length


def _coarse(lips: NDArray[np.uint8], severity: float) -> NDArray[np.uint8]:
    """Means of square blocks of pixels, as large as before."""
    block = 1 + round(severity * (MAX_BLOCK - 1))
    edges_y, edges_x = (np.arange(0, side, block) for side in lips.shape[1:])
    sums = np.add.reduceat(np.add.reduceat(lips.astype(np.int64), edges_y, 1), edges_x, 2)
    heights = np.diff([*edges_y, lips.shape[1]])
    widths = np.diff([*edges_x, lips.shape[2]])
    means = np.rint(sums / np.outer(heights, widths)).astype(np.uint8)
    return np.repeat(np.repeat(means, heights, axis=1), widths, axis=2)
