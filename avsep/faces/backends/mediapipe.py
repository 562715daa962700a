"""MediaPipe Face Landmarker without MediaPipe: LiteRT runs its models on one CPU core.

It needs no EGL or GL library. It equals the MediaPipe Tasks API in image mode within 0.1 % of the
inter-ocular distance (tests/golden/faces).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import cv2
import numpy as np

from avsep.faces.backends import Detection, Estimate, Region
from avsep.faces.backends.blazeface import BlazeFace
from avsep.faces.backends.task_file import DETECTOR, LANDMARKER, interpreter, read_models
from avsep.faces.ibug68 import MEDIAPIPE_INDEX

SIZE = 256  # side of the landmark model's input, in pixels
NUM_POINTS = 478
REGION_SCALE = 1.5  # side of the next region relative to the longer extent of the points
RIGHT_EYE, LEFT_EYE = 33, 263  # outer corners, in MediaPipe's numbering


class MediaPipeBackend:
    """Detector and 478-point mesh, of which 68 points are kept."""

    name = "mediapipe"
    window = 1
    min_score = 0.5

    def __init__(self) -> None:
        # Each process works on one clip: threads of OpenCV would only compete with other processes.
        cv2.setNumThreads(1)
        models = read_models()
        self._detector = BlazeFace(models[DETECTOR])
        self._mesh = FaceMesh(models[LANDMARKER])

    def detect(self, frame: np.ndarray, min_face_px: int) -> list[Detection]:
        """The faces of a frame (H, W, 3) uint8 RGB, best score first."""
        return self._detector.detect(frame, min_face_px)

    def landmarks(self, frames: Sequence[np.ndarray], regions: Sequence[Region]) -> list[Estimate]:
        """One estimate per pair of a frame (H, W, 3) uint8 RGB and a region in it."""
        return [self._estimate(*pair) for pair in zip(frames, regions, strict=True)]

    def _estimate(self, frame: np.ndarray, region: Region) -> Estimate:
        mesh, score = self._mesh(frame, region)
        points = mesh[MEDIAPIPE_INDEX].astype(np.float32)
        points[:, 2] *= -1  # MediaPipe's z grows away from the camera
        return Estimate(points=points, score=score, region=next_region(mesh))


class FaceMesh:
    """The landmark model of a process; its input buffer is written in place."""

    def __init__(self, model: bytes) -> None:
        self._model = interpreter(model)
        self._input = self._model.get_input_details()[0]["index"]
        outputs = {o["name"]: o["index"] for o in self._model.get_output_details()}
        self._points = outputs["Identity"]
        self._presence = outputs["Identity_1"]

    def __call__(self, frame: np.ndarray, region: Region) -> tuple[np.ndarray, float]:
        """The mesh (478, 3) float64 in pixels of the frame, and the score for a face, 0..1."""
        step = region.side / SIZE
        cos, sin = step * math.cos(region.angle), step * math.sin(region.angle)
        half = SIZE / 2
        matrix = np.array(
            [
                [cos, -sin, region.x - (cos - sin) * half],
                [sin, cos, region.y - (sin + cos) * half],
            ]
        )
        square = cv2.warpAffine(
            frame,
            matrix,
            (SIZE, SIZE),
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REPLICATE,
        )
        view = self._model.tensor(self._input)()
        np.multiply(square[None], np.float32(1 / 255), out=view)
        del view  # the interpreter refuses to run while its memory is in use
        self._model.invoke()
        mesh = self._model.get_tensor(self._points).reshape(NUM_POINTS, 3).astype(np.float64)
        mesh[:, :2] = mesh[:, :2] @ matrix[:, :2].T + matrix[:, 2]
        mesh[:, 2] *= step
        logit = min(max(float(self._model.get_tensor(self._presence).item()), -50.0), 50.0)
        return mesh, 1 / (1 + math.exp(-logit))


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
