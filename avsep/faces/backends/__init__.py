"""Backends that find faces and their landmarks: one small interface, several implementations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from avsep.errors import UsageError

if TYPE_CHECKING:
    import numpy as np

    from avsep.faces.backends.runner import Runner
    from avsep.faces.engine.server import Networks

FACE_ALIGNMENT_BATCH, WINDOW = 32, 8
MAX_AT_ONCE = 1024  # pictures per batch, and frames per window
# The package that each backend needs, and its options. `imported` needs OpenCV to crop.
BACKENDS: dict[str, tuple[str, frozenset[str]]] = {
    "mediapipe": (
        "ai_edge_litert",
        frozenset({"engine", "device", "precision", "batch", "window"}),
    ),
    "face_alignment": (
        "face_alignment",
        frozenset({"batch", "device", "mirror", "three_d", "weights", "whole_pixels", "window"}),
    ),
    "imported": ("cv2", frozenset({"root", "made_by"})),
}


@dataclass(frozen=True)
class Region:
    """A rotated square of the picture in which a landmark model looks for one face.

    Attributes:
        x: x of the centre, in pixels of the source.
        y: y of the centre, in pixels of the source.
        side: length of a side, in pixels of the source.
        angle: rotation of the face in radians, positive from x towards y.
    """

    x: float
    y: float
    side: float
    angle: float = 0.0


@dataclass(frozen=True)
class Detection:
    """A face that the detector found.

    Attributes:
        x: x of the centre of the square face box, in pixels of the source.
        y: y of the centre of the box, in pixels of the source.
        side: length of a side of the box, in pixels of the source.
        score: confidence, 0..1.
        region: where the landmark model should look.
    """

    x: float
    y: float
    side: float
    score: float
    region: Region

    def moved(self, x: float, y: float) -> Detection:
        """The same face in a larger picture that contains this picture from pixel (x, y) on."""
        region = replace(self.region, x=self.region.x + x, y=self.region.y + y)
        return replace(self, x=self.x + x, y=self.y + y, region=region)


@dataclass(frozen=True, eq=False)
class Estimate:
    """The landmarks of one face in one frame.

    Attributes:
        points: (68, 3) float32, iBUG order, in pixels of the source; z in the same unit, growing
            towards the camera from an arbitrary zero; z is 0 with a 2-D backend.
        score: confidence that there is a face, 0..1.
        region: where to look in the next frame.
    """

    points: np.ndarray
    score: float
    region: Region


class FaceBackend(Protocol):
    """A face detector and a landmark model.

    Attributes:
        name: one of `BACKENDS`; stored with the samples, since the 68 points of backends differ.
        window: number of frames to estimate at once; 1 for a model without batches.
        min_score: estimates with a lower score are not a face.
    """

    name: str
    window: int
    min_score: float

    def detect(self, frame: np.ndarray, min_face_px: int) -> list[Detection]:
        """The faces of a frame (H, W, 3) uint8 RGB, best score first."""
        ...

    def landmarks(self, frames: Sequence[np.ndarray], regions: Sequence[Region]) -> list[Estimate]:
        """One estimate per pair of a frame (H, W, 3) uint8 RGB and a region in it."""
        ...


def resolved_options(name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a backend, with everything that depends on the machine decided on this one.

    Raises:
        ValueError: an option has a value that it cannot have.
    """
    known = BACKENDS[name][1] if name in BACKENDS else frozenset()
    if name == "mediapipe" and options.keys() <= known:
        from avsep.faces.engine.config import resolved_engine

        return resolved_engine(options)
    if name == "face_alignment":
        given = {"batch": FACE_ALIGNMENT_BATCH, "whole_pixels": True} | dict(options)
        for key in given.keys() & {"batch", "window"}:
            if type(given[key]) is not int or not 1 <= given[key] <= MAX_AT_ONCE:
                raise ValueError(
                    f"{key} is {given[key]!r}; it must be a whole number from 1 to {MAX_AT_ONCE}."
                )
        if type(given["whole_pixels"]) is not bool:
            value = given["whole_pixels"]
            raise ValueError(f"whole_pixels is {value!r}; it must be true or false.")
        return given
    return dict(options)


def engine_options(name: str, options: Mapping[str, Any]) -> dict[str, Any] | None:
    """The options of an engine for a backend, with a device; None where each process does better.

    Args:
        name: name of the backend.
        options: its resolved options.
    """
    if name == "face_alignment":
        # On a CPU each process has networks of its own, or all would wait for one core.
        given = {"device": "cpu"} | dict(options)
        return None if given["device"] == "cpu" else given
    return dict(options) if options.get("engine") == "torch" else None


def load_networks(name: str, options: Mapping[str, Any]) -> Networks:
    """The networks of a backend on a device, for an engine.

    Args:
        name: `mediapipe` or `face_alignment`.
        options: its resolved options, with a device.
    """
    import torch

    from avsep.faces.engine.mediapipe_networks import MediaPipeNetworks

    if options["device"] == "cpu":
        torch.set_num_threads(1)  # with more, the last bits would depend on their number
    if name == "face_alignment":
        from avsep.faces.backends import face_alignment

        return face_alignment.load_networks(
            **{k: v for k, v in options.items() if k not in ("window", "whole_pixels")}
        )
    return MediaPipeNetworks(options["device"], options["precision"], options["batch"])


def create(name: str, engine_at: str = "", **options: Any) -> FaceBackend:
    """Load a backend that runs a detector.

    Args:
        name: `mediapipe` or `face_alignment`.
        engine_at: path of the socket of an engine, see `engine.host`; empty to load the networks
            into this process.
        options: options of that backend; see `load` in its module, and `EngineConfig`.

    Raises:
        UsageError: there is no such backend, or its package or weights are missing.
    """
    try:
        if name == "mediapipe":
            resolved = resolved_options(name, options)
            if not resolved:
                from avsep.faces.backends.mediapipe import MediaPipeBackend

                return MediaPipeBackend()
            if resolved["engine"] == "openvino":
                from avsep.faces.backends.mediapipe import MediaPipeBackend
                from avsep.faces.backends.mesh_openvino import OpenVinoMesh

                return MediaPipeBackend(OpenVinoMesh, resolved["window"])
            from avsep.faces.backends.mediapipe_torch import TorchMediaPipeBackend

            return TorchMediaPipeBackend(_runner(name, resolved, engine_at), resolved["window"])
        if name == "face_alignment":
            from avsep.faces.backends.face_alignment import FaceAlignmentBackend

            given = {"device": "cpu"} | resolved_options(name, options)
            runner = _runner(name, given, engine_at)
            window = int(given.get("window", WINDOW))
            return FaceAlignmentBackend(runner, window, whole_pixels=given["whole_pixels"])
    except ModuleNotFoundError as error:
        raise UsageError(f"the face backend {name} needs the package {error.name}.") from error
    raise UsageError(f"there is no face backend {name!r}; there are {', '.join(BACKENDS)}.")


def _runner(name: str, options: Mapping[str, Any], engine_at: str) -> Runner:
    if engine_at:
        from avsep.faces.engine.client import EngineClient

        return EngineClient(Path(engine_at))
    from avsep.faces.engine.local import LocalRunner

    return LocalRunner(load_networks(name, options))


def check_backend(name: str, options: Mapping[str, Any]) -> None:
    """Raise unless a backend could be loaded, before many processes try to.

    Args:
        name: one of `BACKENDS`.
        options: options of the backend.

    Raises:
        UsageError: there is no such backend, it does not have an option, or its package, weights
            or files are missing.
    """
    if name not in BACKENDS:
        raise UsageError(f"there is no face backend {name!r}; there are {', '.join(BACKENDS)}.")
    package, known = BACKENDS[name]
    if find_spec(package) is None:
        raise UsageError(f"the face backend {name} needs the package {package}.")
    if unknown := sorted(options.keys() - known):
        raise UsageError(
            f"the face backend {name} has no option {', '.join(unknown)};"
            f" it has {', '.join(sorted(known)) or 'none'}."
        )
    if name == "mediapipe":
        resolved = resolved_options(name, options)
        if resolved.get("engine") == "openvino" and find_spec("openvino") is None:
            raise UsageError("the engine openvino needs the package openvino.")
        _check_device(str(resolved.get("device", "cpu")))
    if name == "imported":
        from avsep.faces.backends.imported import checked_root

        checked_root(options)
    if name == "face_alignment":
        from avsep.faces.backends.fan_weights import find_weights, weight_names

        find_weights(weight_names(options.get("three_d", True)), str(options.get("weights", "")))


def _check_device(device: str) -> None:
    """Raise UsageError unless PyTorch can use a device."""
    if device == "cpu":
        return
    import torch

    try:
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UsageError(f"the device {device!r} cannot be used: {error}") from error
