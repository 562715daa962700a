"""BlazeFace, MediaPipe's short-range face detector, run by LiteRT over a pyramid of tiles.

The model sees 128x128 pixels and finds faces of at least about an eighth of that. A picture that is
much larger than the smallest wanted face is therefore also divided into overlapping square tiles.
"""

from __future__ import annotations

import math

import cv2
import numpy as np

from avsep.faces.backends import Detection, Region
from avsep.faces.backends.task_file import interpreter

SIZE = 128  # side of the model's input, in pixels
MIN_SCORE = 0.5
MIN_IOU = 0.3  # boxes that overlap more show the same face
REGION_SCALE = 1.5  # side of the landmark region relative to the side of the box
SMALLEST_SHARE = 0.14  # side of the smallest face found reliably, relative to the tile (measured)
LEVEL_FACTOR = 2.6  # largest ratio of the tile sides of two successive levels
ROW = 17  # numbers per candidate: score, centre, size, and x and y of six key points


def _anchors() -> np.ndarray:
    centres: list[tuple[float, float]] = []
    for stride, repeats in ((8, 2), (16, 6)):
        cells = SIZE // stride
        for y in range(cells):
            for x in range(cells):
                centres += [((x + 0.5) / cells, (y + 0.5) / cells)] * repeats
    return np.array(centres) * SIZE


ANCHORS = _anchors()


class BlazeFace:
    """The detector of a process; its buffers are reused from call to call."""

    def __init__(self, model: bytes) -> None:
        self._model = interpreter(model)
        self._input = self._model.get_input_details()[0]["index"]
        outputs = {o["name"]: o["index"] for o in self._model.get_output_details()}
        self._regressors = outputs["regressors"]
        self._scores = outputs["classificators"]
        self._pixels = np.empty((1, SIZE, SIZE, 3), np.float32)

    def detect(self, frame: np.ndarray, min_face_px: int) -> list[Detection]:
        """The faces of a frame (H, W, 3) uint8 RGB, best score first."""
        height, width = frame.shape[:2]
        candidates = [self._full(frame)]
        for side in tile_sides(width, height, min_face_px):
            size = level_size(width, height, side)
            level = cv2.resize(frame, size, interpolation=cv2.INTER_AREA)
            for x, y in tile_corners(*size):
                candidates.append(self._tile(level, x, y, frame.shape))
        return [detection(face) for face in merge(np.concatenate(candidates))]

    def _full(self, frame: np.ndarray) -> np.ndarray:
        """Candidates in the whole picture, letterboxed as in MediaPipe, in its pixels."""
        height, width = frame.shape[:2]
        matrix, step, origin = letterbox(width, height)
        square = cv2.warpAffine(
            frame, matrix, (SIZE, SIZE), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        )
        return to_picture(self._candidates(square), np.array([step, step]), origin)

    def _tile(self, level: np.ndarray, x: int, y: int, shape: tuple[int, ...]) -> np.ndarray:
        """Candidates in one tile of a shrunk picture, in pixels of the original picture."""
        found = self._candidates(level[y : y + SIZE, x : x + SIZE])
        step = np.array([shape[1] / level.shape[1], shape[0] / level.shape[0]])
        return to_picture(found, step, np.array([x, y]) * step)

    def _candidates(self, square: np.ndarray) -> np.ndarray:
        """Rows of score, centre, size and six key points, in pixels of a 128-pixel square."""
        np.multiply(square[None], np.float32(1 / 127.5), out=self._pixels)
        self._pixels -= np.float32(1.0)
        self._model.set_tensor(self._input, self._pixels)
        self._model.invoke()
        scores = self._model.get_tensor(self._scores)[0, :, 0].astype(np.float64)
        scores = 1 / (1 + np.exp(-np.clip(scores, -100, 100)))
        kept = np.flatnonzero(scores >= MIN_SCORE)
        values = self._model.get_tensor(self._regressors)[0, kept].astype(np.float64)
        values = values.reshape(-1, 8, 2)
        values[:, 0] += ANCHORS[kept]
        values[:, 2:] += ANCHORS[kept][:, None]
        return np.concatenate([scores[kept, None], values.reshape(-1, 16)], axis=1)


def letterbox(width: int, height: int) -> tuple[np.ndarray, float, np.ndarray]:
    """The square that MediaPipe's detector sees of a whole picture.

    Returns:
        (2, 3) from pixels of the 128-pixel square to the picture, its step, and its origin (2,).
    """
    step = max(height, width) / SIZE
    origin = np.array([width / 2 - step * SIZE / 2, height / 2 - step * SIZE / 2])
    return np.array([[step, 0.0, origin[0]], [0.0, step, origin[1]]]), step, origin


def level_size(width: int, height: int, side: int) -> tuple[int, int]:
    """Size of the shrunk picture in which tiles of `side` pixels have 128."""
    scale = SIZE / side
    return max(SIZE, round(width * scale)), max(SIZE, round(height * scale))


def tile_corners(width: int, height: int) -> list[tuple[int, int]]:
    """x and y of the first pixel of the tiles of a shrunk picture."""
    overlap = math.ceil(SIZE * SMALLEST_SHARE * LEVEL_FACTOR) + 2
    return [(x, y) for y in tile_starts(height, overlap) for x in tile_starts(width, overlap)]


def tile_sides(width: int, height: int, min_face_px: int) -> list[int]:
    """Sides of the tiles, in pixels of the picture, that find faces of `min_face_px`."""
    if min(width, height) < min_face_px:  # none fits in: tiles of full height would be very many
        return []
    sides: list[int] = []
    side, short = float(max(width, height)), float(min(width, height))
    smallest = max(min_face_px / SMALLEST_SHARE, SIZE)
    # A level that is finer by a tenth or less is not worth its time.
    while side > smallest * 1.1:
        finer = max(smallest, side / LEVEL_FACTOR)
        if not sides and short < 0.9 * side:
            finer = short  # a wide picture: start with two or three squares of its full height
        side = min(short, finer)
        sides.append(round(side))
    return sides


def tile_starts(length: int, overlap: int) -> list[int]:
    """First pixels of 128-pixel tiles that cover `length` and overlap by at least `overlap`."""
    if length <= SIZE:
        return [0]
    count = math.ceil((length - SIZE) / (SIZE - overlap)) + 1
    return [round(i * (length - SIZE) / (count - 1)) for i in range(count)]


def merge(candidates: np.ndarray) -> list[np.ndarray]:
    """One row per face: the mean, weighted by score, of candidates that overlap the best one.

    MediaPipe does the same. Taking only the best row would move landmarks by 0.4 % of the
    inter-ocular distance.
    """
    faces: list[np.ndarray] = []
    rest = candidates[np.argsort(-candidates[:, 0], kind="stable")]
    while len(rest):
        low, high = rest[:, 1:3] - rest[:, 3:5] / 2, rest[:, 1:3] + rest[:, 3:5] / 2
        common = np.clip(np.minimum(high, high[0]) - np.maximum(low, low[0]), 0, None).prod(axis=1)
        area = rest[:, 3:5].prod(axis=1)
        one_face = common > MIN_IOU * (area + area[0] - common)
        one_face[0] = True
        weights = rest[one_face, :1]
        face = (rest[one_face] * weights).sum(axis=0) / weights.sum()
        face[0] = rest[0, 0]
        faces.append(face)
        # A box that is mostly inside a face is part of it, whatever the union is.
        inside = common > 0.6 * np.minimum(area, area[0])
        rest = rest[~(one_face | inside)]
    return faces


def to_picture(found: np.ndarray, step: np.ndarray, origin: np.ndarray) -> np.ndarray:
    """Candidates of a square, in pixels of the picture.

    Args:
        found: (N, 17) score, centre, size and six key points, in pixels of the square.
        step: (2,) pixels of the picture per pixel of the square, in x and y.
        origin: (2,) place of the square in the picture.
    """
    points = found[:, 1:].reshape(-1, 8, 2) * step
    points[:, 0] += origin
    points[:, 2:] += origin
    return np.concatenate([found[:, :1], points.reshape(-1, 16)], axis=1)


def detection(face: np.ndarray) -> Detection:
    """The face of a merged row."""
    score, x, y, width, height = (float(value) for value in face[:5])
    side = max(width, height)
    right_eye, left_eye = face[5:7], face[7:9]
    angle = math.atan2(left_eye[1] - right_eye[1], left_eye[0] - right_eye[0])
    region = Region(x=x, y=y, side=side * REGION_SCALE, angle=angle)
    return Detection(x=x, y=y, side=side, score=score, region=region)
