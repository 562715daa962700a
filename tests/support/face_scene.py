"""Drawn scenes with faces whose places are known, and a backend that finds them by their colour."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from avsep.faces.backends import Detection, Estimate, Region
from avsep.faces.geometry import face_boxes
from avsep.faces.ibug68 import MEDIAPIPE_INDEX

GOLDEN = Path(__file__).parents[1] / "golden" / "faces" / "mediapipe_image_mode.npz"
KEY = 8  # lower four bits of red in face 0, one more in face 1; 0 elsewhere
FACES = 8
PHOTOGRAPH = 7  # the face whose mouth never moves
LOWER_LIP = [*range(55, 60), *range(65, 68)]


def _template() -> np.ndarray:
    with np.load(GOLDEN) as golden:
        points = golden["mesh"][5][MEDIAPIPE_INDEX].astype(np.float64)
    box = face_boxes(points[None])[0]
    points[:, :2] -= box[:2]
    points[:, 2] *= -1
    return points / box[2]


# (68, 3) of a frontal face: centred on 0, its box of side 1, z towards the camera.
FACE = _template()


def talking(index: int) -> np.ndarray:
    """`FACE` with the mouth of a talker in frame `index`, (68, 3)."""
    points = FACE.copy()
    points[LOWER_LIP, 1] += 0.04 * np.sin(index / 4)
    return points


@dataclass(frozen=True)
class Pose:
    """Where face `who` is in a frame: centre and side of its box, in pixels."""

    who: int
    x: float
    y: float
    side: float


def background(size: tuple[int, int], seed: int = 0) -> np.ndarray:
    """A soft coloured picture (H, W, 3) uint8 without a face."""
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 255, (6, 8, 3)).astype(np.uint8)
    return _keyed(cv2.resize(small, size, interpolation=cv2.INTER_LINEAR), 0)


def _keyed(picture: np.ndarray, key: int) -> np.ndarray:
    picture[:, :, 0] = (picture[:, :, 0] & 0xF0) | key
    return picture


def draw(picture: np.ndarray, poses: Sequence[Pose]) -> np.ndarray:
    """A copy of the picture with square faces; later ones hide earlier ones."""
    frame = picture.copy()
    for pose in poses:
        left, top = round(pose.x - pose.side / 2), round(pose.y - pose.side / 2)
        side = round(pose.side)
        picture = np.random.default_rng(100 + pose.who).integers(0, 255, (4, 4, 3)).astype(np.uint8)
        face = _keyed(cv2.resize(picture, (side, side)), KEY + pose.who)
        rows = slice(max(0, top), max(0, top + side))
        columns = slice(max(0, left), max(0, left + side))
        shown = frame[rows, columns].shape
        y, x = rows.start - top, columns.start - left
        frame[rows, columns] = face[y : y + shown[0], x : x + shown[1]]
    return frame


@dataclass
class ColourBackend:
    """Finds the faces of `draw`. Half hidden ones are not found.

    Attributes:
        window: frames it is given at once.
        detections: calls of `detect`.
        largest_batch: most frames it was given at once.
    """

    window: int = 1
    name: str = "colour"
    min_score: float = 0.5
    detections: int = 0
    largest_batch: int = 0

    def detect(self, frame: np.ndarray, min_face_px: int) -> list[Detection]:
        self.detections += 1
        return [
            Detection(x, y, side, 0.9, Region(x, y, side * 1.5))
            for x, y, side in self._visible(frame)
            if side >= min_face_px
        ]

    def landmarks(self, frames: Sequence[np.ndarray], regions: Sequence[Region]) -> list[Estimate]:
        self.largest_batch = max(self.largest_batch, len(frames))
        return [self._estimate(f, r) for f, r in zip(frames, regions, strict=True)]

    def _estimate(self, frame: np.ndarray, region: Region) -> Estimate:
        faces = self._visible(frame)
        faces = [f for f in faces if np.hypot(f[0] - region.x, f[1] - region.y) < region.side / 2]
        if not faces:
            points = FACE * region.side / 1.5 + np.array([region.x, region.y, 0])
            return Estimate(points.astype(np.float32), 0.1, region)
        x, y, side = min(faces, key=lambda f: np.hypot(f[0] - region.x, f[1] - region.y))
        who = (int(frame[round(y), round(x), 0]) & 0x0F) - KEY
        face = FACE if who == PHOTOGRAPH else talking(int(frame[0, 0, 1]))
        points = face * side + np.array([x, y, 0])
        return Estimate(points.astype(np.float32), 0.9, Region(x, y, side * 1.5))

    def _visible(self, frame: np.ndarray) -> list[tuple[float, float, float]]:
        found = []
        for who in range(FACES):
            mask = (frame[:, :, 0] & 0x0F) == KEY + who
            rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
            if not len(rows):
                continue
            height, width = rows[-1] - rows[0] + 1, columns[-1] - columns[0] + 1
            side = max(height, width)
            if mask.sum() < 0.6 * side * side:
                continue
            x, y = (columns[0] + columns[-1]) / 2, (rows[0] + rows[-1]) / 2
            found.append((float(x), float(y), float(side)))
        return found
