"""The backend `mediapipe` on PyTorch: the same networks and arithmetic, in batches on one device.

Equal to LiteRT within 0.02 % of the inter-ocular distance in float32
(tests/faces/test_landmark_engine.py).
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from avsep.faces.backends import Detection, Estimate, Region
from avsep.faces.backends.blazeface import detection
from avsep.faces.backends.face_mesh import NUM_POINTS, estimate
from avsep.faces.backends.runner import Runner, estimate_pairs


class TorchMediaPipeBackend:
    """Detector and 478-point mesh, of which 68 points are kept.

    Args:
        runner: runs the networks.
        window: number of frames to estimate at once.
    """

    name = "mediapipe"
    min_score = 0.5

    def __init__(self, runner: Runner, window: int) -> None:
        cv2.setNumThreads(1)
        self.window = window
        self._runner = runner

    def detect(self, frame: np.ndarray, min_face_px: int) -> list[Detection]:
        """The faces of a frame (H, W, 3) uint8 RGB, best score first."""
        return [detection(row) for row in self._runner.find(frame, min_face_px)]

    def landmarks(self, frames: Sequence[np.ndarray], regions: Sequence[Region]) -> list[Estimate]:
        """One estimate per pair of a frame (H, W, 3) uint8 RGB and a region in it."""
        if not frames:
            return []
        rows = estimate_pairs(self._runner, frames, regions)
        return [
            estimate(row[:-1].reshape(NUM_POINTS, 3).astype(np.float32), float(row[-1]), region)
            for row, region in zip(rows, regions, strict=True)
        ]
