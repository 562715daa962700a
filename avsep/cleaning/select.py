"""Select checked clips by an expression over their scores."""

from __future__ import annotations

import math
from collections.abc import Iterable

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


def find_unselected(clips: Iterable[Clip], select: Expression) -> dict[str, str]:
    """Find kept clips that an expression does not select.

    Returns:
        For each of these clips, by clip id, a sentence that says why.

    Raises:
        UsageError: the expression uses a score that no clip has, or compares text with numbers.
    """
    scores = {clip.clip_id: clip_scores(clip) for clip in clips if clip.kept}
    known = {name for values in scores.values() for name in values}
    if scores and (unknown := sorted(select.names - known - {*_NUMBERS, *_TEXTS})):
        raise UsageError(
            f"clean.select uses {', '.join(unknown)}, which no clip has; the clips have"
            f" {', '.join(sorted(known))}."
        )
    try:
        why = {clip_id: select.why_not(values) for clip_id, values in scores.items()}
    except ValueError as error:
        raise UsageError(f"clean.select: {error}") from error
    return {clip_id: sentence for clip_id, sentence in why.items() if sentence}
