"""Find faces, track them, describe them by 68 landmarks, and crop their mouths.

Importing these names is cheap; OpenCV and the models are only loaded on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from avsep.faces.config import FacesConfig

if TYPE_CHECKING:
    from avsep.faces.extraction import FaceTrackSample, extract_faces

__all__ = ["FaceTrackSample", "FacesConfig", "extract_faces"]


def __getattr__(name: str) -> Any:
    if name in ("FaceTrackSample", "extract_faces"):
        from avsep.faces import extraction

        return getattr(extraction, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
