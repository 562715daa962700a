"""MediaPipe Face Landmarker without MediaPipe: its models run on one CPU core.

It needs no EGL or GL library. With LiteRT it equals the MediaPipe Tasks API in image mode within
0.1 % of the inter-ocular distance (tests/golden/faces).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import cv2
import numpy as np

from avsep.faces.backends import Detection, Estimate, Region
from avsep.faces.backends.blazeface import BlazeFace
from avsep.faces.backends.face_mesh import NUM_POINTS, SIZE, estimate, pixels_of
from avsep.faces.backends.task_file import DETECTOR, LANDMARKER, interpreter, read_models


class Mesh(Protocol):
    """Runs the landmark model."""

    def __call__(
        self, frames: Sequence[np.ndarray], regions: Sequence[Region]
    ) -> list[tuple[np.ndarray, float]]:
        """The mesh (478, 3) in pixels of the model's input and the logit for a face, per pair."""
        ...


class MediaPipeBackend:
    """Detector and 478-point mesh, of which 68 points are kept.

    Args:
        mesh: makes what runs the landmark model from its bytes; None for LiteRT.
        window: number of frames to estimate at once.
    """

    name = "mediapipe"
    min_score = 0.5

    def __init__(self, mesh: Callable[[bytes], Mesh] | None = None, window: int = 1) -> None:
        # Each process works on one clip: threads of OpenCV would only compete with other processes.
        cv2.setNumThreads(1)
        models = read_models()
        self.window = window
        self._detector = BlazeFace(models[DETECTOR])
        self._mesh = (mesh or FaceMesh)(models[LANDMARKER])

    def detect(self, frame: np.ndarray, min_face_px: int) -> list[Detection]:
        """The faces of a frame (H, W, 3) uint8 RGB, best score first."""
        return self._detector.detect(frame, min_face_px)

    def landmarks(self, frames: Sequence[np.ndarray], regions: Sequence[Region]) -> list[Estimate]:
        """One estimate per pair of a frame (H, W, 3) uint8 RGB and a region in it."""
        meshes = self._mesh(frames, regions)
        return [estimate(*mesh, region) for mesh, region in zip(meshes, regions, strict=True)]


class FaceMesh:
    """The landmark model in LiteRT.

    Its input is copied, at 1 % of the time: LiteRT does not run while a view of its memory lives,
    and a profiler in another thread (each worker of Dask has one) keeps views alive for a moment.
    """

    def __init__(self, model: bytes) -> None:
        self._model = interpreter(model)
        self._input = self._model.get_input_details()[0]["index"]
        outputs = {o["name"]: o["index"] for o in self._model.get_output_details()}
        self._points = outputs["Identity"]
        self._presence = outputs["Identity_1"]
        self._pixels = np.empty((1, SIZE, SIZE, 3), np.float32)

    def __call__(
        self, frames: Sequence[np.ndarray], regions: Sequence[Region]
    ) -> list[tuple[np.ndarray, float]]:
        """See `Mesh`."""
        return [self._one(*pair) for pair in zip(frames, regions, strict=True)]

    def _one(self, frame: np.ndarray, region: Region) -> tuple[np.ndarray, float]:
        pixels_of(frame, region, out=self._pixels[0])
        self._model.set_tensor(self._input, self._pixels)
        self._model.invoke()
        mesh = self._model.get_tensor(self._points).reshape(NUM_POINTS, 3)
        return mesh, float(self._model.get_tensor(self._presence).item())
