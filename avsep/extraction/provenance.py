"""What decides the samples of a clip: as a hash to resume by, and as facts in each sample."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from avsep.extraction.config import ExtractionConfig
from avsep.files import settings_hash
from avsep.schema import ANALYSIS_SIZE, LIPS_SIZE, Clip
from avsep.settings import as_values

CODE_VERSION = 5  # increase it when the same settings give other samples
ROOM_FOR_FACES = 6

# Options that only say where the work is done: shards do not depend on the machine that made them.
_PLACES = frozenset({"device", "weights", "root"})
# Packages by their name in the manifest; some can be installed under several names.
_ALWAYS = {
    "av": ("av",),
    "numpy": ("numpy",),
    "opencv": ("opencv-python-headless", "opencv-python", "opencv-contrib-python"),
    "soxr": ("soxr",),
}
_BY_STORAGE = {"compact": {"soundfile": ("soundfile",)}, "plain": {}}
_TORCH = {"torch": ("torch",)}
_LITERT = {"litert": ("ai-edge-litert",)}
_BY_ENGINE = {"torch": _TORCH, "openvino": {**_LITERT, "openvino": ("openvino",)}}
_BY_BACKEND = {
    "mediapipe": _LITERT,
    "face_alignment": {"face-alignment": ("face-alignment",), **_TORCH},
    "imported": {},
}


def clip_facts(clip: Clip) -> dict[str, Any]:
    """The facts of a clip that the JSON member of each of its samples contains.

    `video`, `origin`, `annotation` and `words` (word, start and end in seconds of the clip's file)
    are only present where the corpus has them.
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


def faces_facts(config: ExtractionConfig, most_at_once: int = 0) -> dict[str, Any]:
    """How faces were found and cropped, for the JSON member of a sample.

    Without a limit, `max_faces` is the number of faces that there was room for: 6, the limit of the
    first version, or the number that the clip shows, if that is larger.

    Args:
        config: settings of the extraction.
        most_at_once: largest number of faces in one frame of the clip.
    """
    from avsep.faces.ibug68 import STABLE

    settings = as_values(config.faces)
    settings["max_faces"] = config.faces.max_faces or max(ROOM_FOR_FACES, most_at_once)
    return {
        "backend": backend_facts(config),
        "faces": {
            "settings": settings,
            "analysis_size": ANALYSIS_SIZE,
            "lips_size": LIPS_SIZE,
            "mean_face": "20words-256",
            "stable_points": list(STABLE),
        },
    }


def backend_facts(config: ExtractionConfig) -> dict[str, Any]:
    """Name, options and weights of the landmark backend, without loading it."""
    options = {
        name: as_values(value)
        for name, value in config.backend_options.items()
        if name not in _PLACES
    }
    if config.backend == "mediapipe":
        from avsep.faces.backends.task_file import SHA256

        return {"name": config.backend, "options": options, "weights": [SHA256]}
    if config.backend == "imported":
        return {"name": config.backend, "options": options, "weights": []}
    from avsep.faces.backends.fan_weights import weight_names

    # The names contain the start of each file's sha256, which is checked on loading.
    names = weight_names(config.backend_options.get("three_d", True))
    return {"name": config.backend, "options": options, "weights": names}


def tool_versions(config: ExtractionConfig) -> Mapping[str, str]:
    """Versions of the libraries that the bytes of a shard depend on."""
    return _versions(config.storage, config.backend, str(config.backend_options.get("engine")))


@lru_cache
def _versions(storage: str, backend: str, engine: str) -> Mapping[str, str]:
    found = {}
    of_backend = _BY_ENGINE.get(engine, _BY_BACKEND[backend])
    for tool, packages in (_ALWAYS | _BY_STORAGE[storage] | of_backend).items():
        for package in packages:
            try:
                found[tool] = version(package)
                break
            except PackageNotFoundError:
                continue  # the code that needs it says so
    return found


def clip_hash(config: ExtractionConfig, clip: Clip) -> str:
    """The hash of everything that decides a clip's samples: clip, settings and tools."""
    return settings_hash(
        CODE_VERSION,
        config.storage,
        config.lips_crf,
        faces_facts(config),
        dict(tool_versions(config)),
        clip_facts(clip),
    )
