"""Which samples may be mixed: a sample's row and sound into a voice, or the reason why not."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import numpy as np

from pipeline.errors import ItemError, Reason
from pipeline.mixing.voices import Voice, find_activity, window_starts
from pipeline.mixing.wishes import Wishes

if TYPE_CHECKING:
    from pipeline.shards.index import IndexRow


def select_voice(row: IndexRow, audio: np.ndarray, num_frames: int, wishes: Wishes) -> Voice:
    """The voice that a sample is.

    Args:
        row: of the shards' index.
        audio: (640 T,) int16 at 16 kHz.
        num_frames: length of a window of its split.
        wishes: what it must be like.

    Raises:
        ItemError: the sample cannot be mixed; names the reason.
    """
    check_row(row, num_frames, wishes)
    level_dbfs, active = find_activity(audio)
    if not math.isfinite(level_dbfs):
        raise ItemError(Reason.SILENT, "its sound has no speech level.")
    voice = Voice(
        key=row.key,
        speaker=row.speaker,
        group=row.group,
        gender=row.gender,
        num_frames=row.num_frames,
        level_dbfs=level_dbfs,
        sha256=row.audio_sha256,
        active=active,
    )
    if not len(window_starts(voice, num_frames, wishes.min_activity)):
        raise ItemError(
            Reason.LITTLE_SPEECH,
            f"no window of {num_frames} frames has speech in {wishes.min_activity:.0%} of them.",
        )
    return voice


def check_row(row: IndexRow, num_frames: int, wishes: Wishes) -> None:
    """Pass when the row alone does not rule the sample out.

    Raises:
        ItemError: more than one voice, a score beyond its limit, or too short.
    """
    if row.multi_voice and not wishes.allow_multi_voice:
        raise ItemError(Reason.MULTI_VOICE, "its sound may hold more than one voice.")
    for limits, sign, word in ((wishes.max_quality, 1, "above"), (wishes.min_quality, -1, "below")):
        for name, limit in sorted(limits.items()):
            value = row.quality.get(name, math.nan)
            if sign * value > sign * limit:  # false for NaN
                raise ItemError(
                    Reason.POOR_QUALITY, f"its {name} is {value:.4g}, {word} {limit:g}."
                )
    if row.num_frames < num_frames:
        raise ItemError(
            Reason.TOO_SHORT, f"it has {row.num_frames} frames; a window has {num_frames}."
        )


def unknown_scores(rows: Iterable[IndexRow], wishes: Wishes) -> list[str]:
    """Scores that the wishes name and no sample has: most likely misspelt."""
    asked = {**wishes.max_quality, **wishes.min_quality}
    known = _names(row.quality for row in rows)
    return sorted(name for name in asked if name not in known) if known else []


def _names(scores: Iterable[Mapping[str, float]]) -> set[str]:
    return {name for quality in scores for name in quality}
