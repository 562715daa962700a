"""Select checked clips by an expression over their scores."""

from __future__ import annotations

import math
from collections.abc import Collection

from avsep.errors import UsageError
from avsep.expression import Expression, Value
from avsep.schema import Clip

_NUMBERS = (
    "duration_s", "width", "height", "fps", "audio_rate_hz", "channels", "level_dbfs",
    "dc_offset", "clipped_share", "speech_share", "snr_db", "bandwidth_hz",
)  # fmt: skip
_TEXTS = ("corpus", "speaker", "gender", "split", "video")


def clip_scores(clip: Clip) -> dict[str, Value]:
    """The values of a clip that an expression can use; unknown ones are left out."""
    scores: dict[str, Value] = dict(clip.annotation)
    for name in _NUMBERS:
        value = float(getattr(clip, name))
        if not math.isnan(value):
            scores[name] = value
    return scores | {name: getattr(clip, name) for name in _TEXTS if getattr(clip, name)}


def find_unselected(clips: Collection[Clip], select: Expression) -> dict[str, str]:
    """Find kept clips that an expression does not select.

    Returns:
        For each of these clips, by clip id, a sentence that says why.

    Raises:
        UsageError: the expression uses a score that no clip has, or compares text with numbers.
    """
    if not select.text.strip():
        return {}
    if select.names:
        known: set[str] = set()
        for clip in clips:
            if clip.kept:
                known |= clip_scores(clip).keys()
        if known and (unknown := sorted(select.names - known - {*_NUMBERS, *_TEXTS})):
            raise UsageError(
                f"clean.select uses {', '.join(unknown)}, which no clip has; the clips have"
                f" {', '.join(sorted(known))}."
            )
    try:
        return {
            clip.clip_id: sentence
            for clip in clips
            if clip.kept and (sentence := select.why_not(clip_scores(clip)))
        }
    except ValueError as error:
        raise UsageError(f"clean.select: {error}") from error
