"""The geometry of MediaPipe's face mesh: the square it looks at, its points, the next square."""

from __future__ import annotations

import math

import cv2
import numpy as np

from avsep.faces.backends import Estimate, Region
from avsep.faces.ibug68 import MEDIAPIPE_INDEX

SIZE = 256  # side of the landmark model's input, in pixels
NUM_POINTS = 478
REGION_SCALE = 1.5  # side of the next region relative to the longer extent of the points
RIGHT_EYE, LEFT_EYE = 33, 263  # outer corners, in MediaPipe's numbering


def region_matrix(x: float, y: float, side: float, angle: float) -> np.ndarray:
    """(2, 3) from pixels of the model's input to pixels of the frame, for a region."""
    step, half = side / SIZE, SIZE / 2
    cos, sin = step * math.cos(angle), step * math.sin(angle)
    return np.array([[cos, -sin, x - (cos - sin) * half], [sin, cos, y - (sin + cos) * half]])


def pixels_of(frame: np.ndarray, region: Region, out: np.ndarray) -> None:
    """Write what the model sees of a region.

    Args:
        frame: (H, W, 3) uint8 RGB.
        region: of the frame.
        out: (256, 256, 3) float32, gets values of 0..1.
    """
    square = cv2.warpAffine(
        frame,
        region_matrix(region.x, region.y, region.side, region.angle),
        (SIZE, SIZE),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )
    np.multiply(square, np.float32(1 / 255), out=out)


def estimate(mesh: np.ndarray, logit: float, region: Region) -> Estimate:
    """The estimate in what the model gives.

    Args:
        mesh: (478, 3) in pixels of the model's input.
        logit: presence of a face.
        region: where the model looked.
    """
    matrix = region_matrix(region.x, region.y, region.side, region.angle)
    placed = mesh.astype(np.float64)
    placed[:, :2] = placed[:, :2] @ matrix[:, :2].T + matrix[:, 2]
    placed[:, 2] *= region.side / SIZE
    points = placed[MEDIAPIPE_INDEX].astype(np.float32)
    points[:, 2] *= -1  # MediaPipe's z grows away from the camera
    score = 1 / (1 + math.exp(-min(max(logit, -50.0), 50.0)))
    return Estimate(points=points, score=score, region=next_region(placed))


def next_region(mesh: np.ndarray) -> Region:
    """The region for the next frame: the square around the mesh, aligned with the eyes."""
    across = mesh[LEFT_EYE] - mesh[RIGHT_EYE]
    angle = math.atan2(across[1], across[0])
    cos, sin = math.cos(angle), math.sin(angle)
    turn = np.array([[cos, -sin], [sin, cos]])  # levelled to picture
    level = mesh[:, :2] @ turn
    low, high = level.min(axis=0), level.max(axis=0)
    x, y = turn @ ((low + high) / 2)
    side = float((high - low).max()) * REGION_SCALE
    return Region(x=float(x), y=float(y), side=side, angle=angle)
