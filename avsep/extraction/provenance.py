"""What decides the samples of a clip, as hashes for resuming and as facts for the reader."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from typing import Any, Literal

from avsep.errors import UsageError
from avsep.faces.config import FacesConfig
from avsep.files import settings_hash
from avsep.schema import ANALYSIS_SIZE, LIPS_SIZE, Clip
from avsep.settings import as_values

_IMPORTED_OPTIONS = frozenset({"root", "made_by"})
_FAN_OPTIONS = frozenset({"device", "mirror", "three_d", "weights", "window"})
# Options that say where the work is done; a shard does not tell about the machine it was made on.
_PLACES = frozenset({"device", "weights", "root"})

CODE_VERSION = 1  # raise it when the same settings give other samples

# Packages by what they are called in the manifest; some can be installed under several names.
_ALWAYS = {
    "av": ("av",),
    "numpy": ("numpy",),
    "opencv": ("opencv-python-headless", "opencv-python", "opencv-contrib-python"),
    "soxr": ("soxr",),
}
_BY_STORAGE = {"compact": {"soundfile": ("soundfile",)}, "plain": {}}
_BY_BACKEND = {
    "mediapipe": {"litert": ("ai-edge-litert",)},
    "face_alignment": {"face-alignment": ("face-alignment",), "torch": ("torch",)},
    "imported": {},
}


@dataclass(frozen=True, kw_only=True)
class ClipSettings:
    """What decides the samples of a clip, besides the clip.

    Attributes:
        storage: `compact` or `plain`.
        lips_crf: of the lips video.
        backend: name of the landmark backend.
        backend_options: see `avsep.faces.backends.create`.
        faces: detection, tracking and cropping.
    """

    storage: Literal["compact", "plain"] = "compact"
    lips_crf: int = 18
    backend: str = "mediapipe"
    backend_options: Mapping[str, Any] = field(default_factory=dict)
    faces: FacesConfig = field(default_factory=FacesConfig)


def clip_facts(clip: Clip) -> dict[str, Any]:
    """What the samples take over from their clip, as it stands in their JSON member.

    `video`, `origin`, `annotation` and `words` (word, start, end in seconds of the clip's file)
    are there only where the corpus has them.
    """
    spans = zip(clip.words, clip.word_times_s[::2], clip.word_times_s[1::2], strict=True)
    known = {
        "video": clip.video,
        "origin": clip.origin,
        "annotation": dict(clip.annotation),
        "words": [list(span) for span in spans],
    }
    return {name: value for name, value in known.items() if value} | {
        "clip_id": clip.clip_id,
        "corpus": clip.corpus,
        "speaker": clip.speaker,
        "group": clip.group,
        "gender": clip.gender,
        "split": clip.split,
        "text": clip.text,
        "licence": clip.licence,
        "redistributable": clip.redistributable,
        "source": {
            "path": clip.path,
            "sha256": clip.sha256,
            "size_bytes": clip.size_bytes,
            "start_s": clip.start_s,
            "end_s": clip.end_s,
            "width": clip.width,
            "height": clip.height,
            "fps": clip.fps,
            "audio_rate_hz": clip.audio_rate_hz,
        },
    }


def faces_facts(settings: ClipSettings) -> dict[str, Any]:
    """How faces were found and cut, as it stands in the JSON member."""
    from avsep.faces.ibug68 import STABLE

    return {
        "backend": backend_facts(settings),
        "faces": {
            "settings": as_values(settings.faces),
            "analysis_size": ANALYSIS_SIZE,
            "lips_size": LIPS_SIZE,
            "mean_face": "20words-256",
            "stable_points": list(STABLE),
        },
    }


def backend_facts(settings: ClipSettings) -> dict[str, Any]:
    """Name, options and weights of the landmark backend, without loading it."""
    options = {
        name: as_values(value)
        for name, value in settings.backend_options.items()
        if name not in _PLACES
    }
    if settings.backend == "mediapipe":
        from avsep.faces.backends.task_file import SHA256

        return {"name": settings.backend, "options": options, "weights": [SHA256]}
    if settings.backend == "imported":
        return {"name": settings.backend, "options": options, "weights": []}
    # Its files carry the beginning of their sha256 in their names, which is checked on loading.
    return {"name": settings.backend, "options": options, "weights": _fan_files(settings)}


def check_backend(settings: ClipSettings) -> None:
    """Pass when the landmark backend could be loaded, before many processes try to.

    Raises:
        UsageError: no such backend, an option that it does not have, or its package or weights
            are missing.
    """
    # The imported one needs OpenCV for the crops, as all do.
    package = {
        "mediapipe": "ai_edge_litert",
        "face_alignment": "face_alignment",
        "imported": "cv2",
    }
    name, options = settings.backend, dict(settings.backend_options)
    if name not in package:
        raise UsageError(f"there is no face backend {name!r}; there are {', '.join(package)}.")
    if find_spec(package[name]) is None:
        raise UsageError(f"the face backend {name} needs the package {package[name]}.")
    known = {"face_alignment": _FAN_OPTIONS, "imported": _IMPORTED_OPTIONS}.get(name, frozenset())
    if unknown := sorted(options.keys() - known):
        raise UsageError(
            f"the face backend {name} has no option {', '.join(unknown)};"
            f" it has {', '.join(sorted(known)) or 'none'}."
        )
    if name == "imported":
        from avsep.faces.backends.imported import checked_root

        checked_root(options)
    if name == "face_alignment":
        from avsep.faces.backends.fan_weights import find_weights

        find_weights(_fan_files(settings), str(options.get("weights", "")))


def _fan_files(settings: ClipSettings) -> list[str]:
    from avsep.faces.backends import fan_weights

    if settings.backend_options.get("three_d", True):
        return [fan_weights.S3FD, fan_weights.FAN_3D, fan_weights.DEPTH]
    return [fan_weights.S3FD, fan_weights.FAN_2D]


@lru_cache
def tool_versions(storage: str, backend: str) -> Mapping[str, str]:
    """Versions of the libraries whose work can be seen in the bytes of a shard."""
    found = {}
    for tool, packages in (_ALWAYS | _BY_STORAGE[storage] | _BY_BACKEND[backend]).items():
        for package in packages:
            try:
                found[tool] = version(package)
                break
            except PackageNotFoundError:
                continue  # whoever needs it will say so
    return found


def clip_hash(settings: ClipSettings, clip: Clip) -> str:
    """The hash of all that decides a clip's samples: the clip, the settings, the tools."""
    return settings_hash(
        CODE_VERSION,
        settings.storage,
        settings.lips_crf,
        faces_facts(settings),
        dict(tool_versions(settings.storage, settings.backend)),
        clip_facts(clip),
    )
