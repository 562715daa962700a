"""A small colour patch of a face, which tells two faces apart from frame to frame.

This is not face recognition: it only tells whether the same face is still in a place after a
fraction of a second. The patch includes hair and background, and is aligned with the upright box
instead of single landmarks, which are unstable on a head that is turned away. Similarity measured
on real talkers: from one frame to the next at least 0.7 on a head that moves fast and blurs, and
0.8 in 99 of 100 frames; between different people 0.2 in the median, 0.46 in one case of twenty.
"""

from __future__ import annotations

import cv2
import numpy as np

PATCH = 12  # side of the patch, in pixels
SCALE = 1.5  # side of the part it shows, relative to the side of the face box
_MEMORY = 0.9  # weight of the earlier appearance in each frame


def face_patch(frame: np.ndarray, box: np.ndarray) -> np.ndarray:
    """The patch of a face as a vector of length 1, with mean 0 in each colour.

    Without the mean removed, the colour of skin would make any two faces similar.

    Args:
        frame: (H, W, 3) uint8.
        box: (3,) centre x, centre y and side of the face box; the centre is inside the picture.

    Returns:
        (432,) float32; all 0 where the picture has no structure.
    """
    rows, columns = surroundings(frame, box, SCALE)
    patch = cv2.resize(frame[rows, columns], (PATCH, PATCH), interpolation=cv2.INTER_AREA)
    centred = patch.astype(np.float32)
    vector = (centred - centred.mean(axis=(0, 1))).ravel()
    length = float(np.linalg.norm(vector))
    return vector / length if length > 1.0 else np.zeros_like(vector)


def surroundings(frame: np.ndarray, box: np.ndarray, scale: float) -> tuple[slice, slice]:
    """Rows and columns of the part of a frame around a box, limited to the picture."""
    spans = []
    for centre, length in ((float(box[1]), frame.shape[0]), (float(box[0]), frame.shape[1])):
        half = float(box[2]) * scale / 2
        start = min(max(0, round(centre - half)), length - 1)
        spans.append(slice(start, max(start + 1, min(length, round(centre + half) + 1))))
    return spans[0], spans[1]


def patch_similarity(a: np.ndarray, b: np.ndarray) -> float:
    """Correlation of two patches, -1..1."""
    return float(a @ b)


def update_memory(memory: np.ndarray, patch: np.ndarray) -> np.ndarray:
    """The appearance of a face over about the last half second, as a vector of length 1."""
    blended = _MEMORY * memory + (1 - _MEMORY) * patch
    length = float(np.linalg.norm(blended))
    return blended / length if length > 0 else blended
