"""The landmark model of the backend `mediapipe` in OpenVINO, several faces at a time."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from avsep.faces.backends import Region
from avsep.faces.backends.face_mesh import NUM_POINTS, SIZE, pixels_of

LARGEST_BATCH = 4  # as fast as 8, and each size takes memory of its own
_TELEMETRY = "openvino_telemetry"
_SETTINGS = {
    "INFERENCE_NUM_THREADS": 1,
    "NUM_STREAMS": 1,
    "ENABLE_CPU_PINNING": False,  # else all processes would share the first core
    "INFERENCE_PRECISION_HINT": "f32",  # bfloat16, which it takes where it is fast, moves points
}


class OpenVinoMesh:
    """Runs the model on one CPU core; see `mediapipe.Mesh`.

    Batches have 4, 2 or 1 faces. A face has the same points in each, to the last bit.

    Args:
        model: bytes of the TFLite model.
    """

    def __init__(self, model: bytes) -> None:
        self._core = _package().Core()
        with tempfile.TemporaryDirectory() as folder:  # only files can be read
            path = Path(folder) / "mesh.tflite"
            path.write_bytes(model)
            self._model = self._core.read_model(path)
        self._requests: dict[int, tuple[Any, np.ndarray]] = {}

    def __call__(
        self, frames: Sequence[np.ndarray], regions: Sequence[Region]
    ) -> list[tuple[np.ndarray, float]]:
        """See `mediapipe.Mesh`."""
        results: list[tuple[np.ndarray, float]] = []
        while left := len(frames) - len(results):
            size = min(LARGEST_BATCH, 1 << (left.bit_length() - 1))
            request, pixels = self._request(size)
            for place in range(size):
                number = len(results) + place
                pixels_of(frames[number], regions[number], out=pixels[place])
            request.infer()
            points = request.get_tensor("Identity").data.reshape(size, NUM_POINTS, 3)
            logits = request.get_tensor("Identity_1").data.reshape(size)
            results += [(points[i].copy(), float(logits[i])) for i in range(size)]
        return results

    def _request(self, size: int) -> tuple[Any, np.ndarray]:
        """What computes a batch of a size, and its input (size, 256, 256, 3)."""
        if size not in self._requests:
            self._model.reshape([size, SIZE, SIZE, 3])
            request = self._core.compile_model(self._model, "CPU", _SETTINGS).create_infer_request()
            self._requests[size] = request, request.get_input_tensor(0).data
        return self._requests[size]


def _package() -> Any:
    """The package without its telemetry.

    Its import reports each process to its makers. Where the module for that cannot be imported, it
    uses a stand-in that sends nothing.
    """
    if "openvino" in sys.modules:
        return sys.modules["openvino"]
    kept = sys.modules.get(_TELEMETRY)
    sys.modules[_TELEMETRY] = None  # type: ignore[assignment]
    try:
        import openvino
    finally:
        del sys.modules[_TELEMETRY]
        if kept:
            sys.modules[_TELEMETRY] = kept
    return openvino
