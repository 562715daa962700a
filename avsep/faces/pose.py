"""How far a head is turned, and how wide its face is, from the landmarks."""

from __future__ import annotations

import numpy as np

from avsep.faces.ibug68 import LEFT_EYE_OUTER, NOSE_TIP, RIGHT_EYE_OUTER

POSE = [RIGHT_EYE_OUTER, LEFT_EYE_OUTER, NOSE_TIP]


def inter_ocular(points: np.ndarray) -> np.ndarray:
    """Distance of the outer eye corners, (T,), in the unit of `points` (T, 68, 2 or 3)."""
    across = points[:, RIGHT_EYE_OUTER, :2] - points[:, LEFT_EYE_OUTER, :2]
    return np.hypot(across[:, 0], across[:, 1])


def yaw_degrees(points: np.ndarray) -> np.ndarray:
    """How far the head is turned sideways, (T,), in degrees, positive to the right of the picture.

    With depth: from the direction of the line between the eyes. Without: from the distance of the
    tip of the nose to the middle between the eyes, for a nose half as long as that line.

    Args:
        points: (T, 68, 3); z is 0 where there is no depth.
    """
    return pose_yaw_degrees(points[:, POSE].astype(np.float64))


def pose_yaw_degrees(points: np.ndarray) -> np.ndarray:
    """`yaw_degrees` from the points `POSE` alone, (T, 3, 3) float64."""
    right, left, nose = points[:, 0], points[:, 1], points[:, 2]
    across = (left - right)[:, :2]
    length = np.hypot(across[:, 0], across[:, 1])
    if np.any(points[:, :, 2]):
        # z grows towards the camera: turned to the picture's right, the eye there goes back.
        return np.degrees(np.arctan2(right[:, 2] - left[:, 2], length))
    length = np.maximum(length, 1e-6)
    aside = ((nose - (left + right) / 2)[:, :2] * across).sum(axis=1) / length
    return np.degrees(np.arctan2(aside, length / 2))
