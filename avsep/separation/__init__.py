"""From any video to one clean voice per face; see docs/separate.md.

The package is light to import; PyTorch, OpenCV and the models are imported with the first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from avsep.separation.config import SeparateConfig

if TYPE_CHECKING:
    from avsep.separation.separator import Separation, Separator, SpeakerResult

__all__ = ["SeparateConfig", "Separation", "Separator", "SpeakerResult"]


def __getattr__(name: str) -> Any:
    if name in ("Separation", "Separator", "SpeakerResult"):
        from avsep.separation import separator

        return getattr(separator, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
