"""The faces of a recording that get no voice, and why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from avsep.separation.config import SeparateConfig


class Why(StrEnum):
    """Why a face gets no voice."""

    STILL = "still"
    BRIEF = "seen_briefly"
    NOT_ASKED_FOR = "not_asked_for"
    OVER_LIMIT = "over_limit"
    TOO_SMALL = "too_small"


@dataclass(frozen=True, kw_only=True)
class LeftOut:
    """A face that gets no voice.

    Attributes:
        why: the reason.
        seen_s: start and end of each span in which the face is visible, in seconds of the file;
            empty for faces that were not tracked.
        box: left, top and side of the face where it was seen first, in source pixels; empty for
            faces that were not tracked.
        face_px: side of the face in source pixels; 0 where it was not measured.
    """

    why: Why
    seen_s: tuple[tuple[float, float], ...] = ()
    box: tuple[float, ...] = ()
    face_px: float = 0.0

    def facts(self) -> dict[str, Any]:
        """The face as plain values."""
        return {
            "reason": str(self.why),
            "seen_s": [list(span) for span in self.seen_s],
            "box": list(self.box),
            "face_px": round(self.face_px, 1),
        }


def sentences(left_out: Iterable[LeftOut], config: SeparateConfig) -> list[str]:
    """What was left out, and which setting changes that: one sentence per reason."""
    count = Counter(face.why for face in left_out)
    words = {
        Why.STILL: "never moves, as in a photograph; --keep-still gives it a voice",
        Why.BRIEF: f"is visible for less than {config.min_seen_s:g} s (min_seen_s)",
        Why.NOT_ASKED_FOR: f"is not among the {config.speakers} seen longest (--speakers)",
        Why.OVER_LIMIT: f"is beyond the limit of {config.max_faces} at a time (--max-faces)",
        Why.TOO_SMALL: f"is smaller than {config.min_face_px} pixels (--min-face-px)",
    }
    return [
        f"{count[why]} face(s) left out, each of which {text}."
        for why, text in words.items()
        if count[why]
    ]
