"""Settings of the extraction of a clip."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from avsep.faces.backends import BACKENDS, resolved_options
from avsep.faces.config import FacesConfig
from avsep.validation import check_choice, check_range


@dataclass(frozen=True, kw_only=True)
class ExtractionConfig:
    """What decides the samples of a clip, besides the clip.

    Attributes:
        storage: `compact` (FLAC and H.264) or `plain` (WAV and npy, which tarfile and numpy alone
            can read; the mouths take 25 times the space).
        lips_crf: quality of the mouth video of `compact`, 1 (best) to 51.
        backend: what finds faces and landmarks: `mediapipe` (CPU), `face_alignment` (GPU), or
            `imported` for existing landmark files of auto_avsr or AV-HuBERT.
        backend_options: options of the backend: `engine`, `device`, `precision`, `batch` and
            `window` of `mediapipe` (see `faces.engine.config.EngineConfig`), e.g. `device` and
            `weights` of `face_alignment`, or `root` (folder of the files) and `made_by` (who made
            them) of `imported`. What is `auto` is decided when the settings are read, so that all
            machines that share them do the same.
        faces: detection, tracking and cropping.
    """

    storage: Literal["compact", "plain"] = "compact"
    lips_crf: int = 18
    backend: str = "mediapipe"
    backend_options: dict[str, Any] = field(default_factory=dict)
    faces: FacesConfig = field(default_factory=FacesConfig)

    def __post_init__(self) -> None:
        check_choice(self, tuple(BACKENDS), "backend")
        check_range(self, 1, 51, "lips_crf")
        resolved = resolved_options(self.backend, self.backend_options)
        object.__setattr__(self, "backend_options", resolved)
