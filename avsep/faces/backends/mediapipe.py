"""MediaPipe Face Landmarker without MediaPipe: LiteRT runs its models on one CPU core.

It needs no EGL or GL library. It equals the MediaPipe Tasks API in image mode within 0.1 % of the
inter-ocular distance (tests/golden/faces).
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from avsep.faces.backends import Detection, Estimate, Region
from avsep.faces.backends.blazeface import BlazeFace
from avsep.faces.backends.face_mesh import NUM_POINTS, SIZE, estimate, region_matrix
from avsep.faces.backends.task_file import DETECTOR, LANDMARKER, interpreter, read_models


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
        pairs = zip(frames, regions, strict=True)
        return [estimate(*self._mesh(frame, region), region) for frame, region in pairs]


class FaceMesh:
    """The landmark model of a process; its input buffer is written in place."""

    def __init__(self, model: bytes) -> None:
        self._model = interpreter(model)
        self._input = self._model.get_input_details()[0]["index"]
        outputs = {o["name"]: o["index"] for o in self._model.get_output_details()}
        self._points = outputs["Identity"]
        self._presence = outputs["Identity_1"]

    def __call__(self, frame: np.ndarray, region: Region) -> tuple[np.ndarray, float]:
        """The mesh (478, 3) in pixels of the model's input, and the logit for a face."""
        square = cv2.warpAffine(
            frame,
            region_matrix(region.x, region.y, region.side, region.angle),
            (SIZE, SIZE),
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REPLICATE,
        )
        view = self._model.tensor(self._input)()
        np.multiply(square[None], np.float32(1 / 255), out=view)
        del view  # the interpreter refuses to run while its memory is in use
        self._model.invoke()
        mesh = self._model.get_tensor(self._points).reshape(NUM_POINTS, 3)
        return mesh, float(self._model.get_tensor(self._presence).item())
