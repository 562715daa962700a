"""What finds faces and their landmarks: one small interface, several implementations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

from avsep.errors import UsageError

if TYPE_CHECKING:
    import numpy as np

NAMES = ("mediapipe", "face_alignment")


@dataclass(frozen=True)
class Region:
    """A rotated square of the picture in which a landmark model looks for one face.

    Attributes:
        x: of the centre, in pixels of the source.
        y: likewise.
        side: in pixels.
        angle: by which the face is turned, in radians; positive from x towards y.
    """

    x: float
    y: float
    side: float
    angle: float = 0.0


@dataclass(frozen=True)
class Detection:
    """A face that the detector found.

    Attributes:
        x: centre of its square box, in pixels of the source.
        y: likewise.
        side: of the box.
        score: 0..1.
        region: where the landmark model should look.
    """

    x: float
    y: float
    side: float
    score: float
    region: Region

    def moved(self, x: float, y: float) -> Detection:
        """The same face where the picture's first pixel lies at (x, y) of a larger picture."""
        region = replace(self.region, x=self.region.x + x, y=self.region.y + y)
        return replace(self, x=self.x + x, y=self.y + y, region=region)


@dataclass(frozen=True, eq=False)
class Estimate:
    """The landmarks of one face in one frame.

    Attributes:
        points: (68, 3) float32, iBUG order, in pixels of the source; z in the same unit and
            growing towards the camera, with an arbitrary zero; all 0 for a 2-D backend.
        score: that there is a face at all, 0..1.
        region: where to look in the next frame.
    """

    points: np.ndarray
    score: float
    region: Region


class FaceBackend(Protocol):
    """A face detector and a landmark model.

    Attributes:
        name: as `create` knows it; stored with the samples, since each backend's 68 points differ.
        window: how many frames it likes to be given at once; 1 for a model without batches.
        min_score: estimates with a lower score are no face.
    """

    name: str
    window: int
    min_score: float

    def detect(self, frame: np.ndarray, min_face_px: int) -> list[Detection]:
        """The faces of a frame (H, W, 3) uint8 RGB, best score first."""
        ...

    def landmarks(self, frames: Sequence[np.ndarray], regions: Sequence[Region]) -> list[Estimate]:
        """One estimate for each pair of a frame (H, W, 3) uint8 RGB and a region in it."""
        ...


def create(name: str, **options: Any) -> FaceBackend:
    """Load a backend.

    Args:
        name: `mediapipe` (no options) or `face_alignment` (options `device`, `weights`,
            `three_d`, `window`; see its module).
        options: of that backend.

    Raises:
        UsageError: no such backend, or its package or weights are missing.
    """
    try:
        if name == "mediapipe":
            from avsep.faces.backends.mediapipe import MediaPipeBackend

            return MediaPipeBackend(**options)
        if name == "face_alignment":
            from avsep.faces.backends.face_alignment import load

            return load(**options)
    except ModuleNotFoundError as error:
        raise UsageError(
            f"the face backend {name} needs the package {error.name}, which is not installed."
        ) from error
    raise UsageError(f"there is no face backend {name!r}; the backends are {', '.join(NAMES)}.")
