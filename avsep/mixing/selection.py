"""Which samples may be mixed: turns a sample into a voice, or gives the reason why not."""

from __future__ import annotations

import math
from collections.abc import Iterable
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from avsep.errors import CheckError, ItemError, Reason, UsageError
from avsep.expression import Expression, Value
from avsep.mixing.config import SelectionConfig
from avsep.mixing.voices import Voice, find_activity, window_starts

if TYPE_CHECKING:
    from avsep.shards.index import IndexRow

_TEXTS = ("corpus", "speaker", "gender", "split")
_FACTS = ("duration_s", "num_frames", "level_dbfs")


def select_voice(
    row: IndexRow, audio: np.ndarray, num_frames: int, selection: SelectionConfig
) -> Voice:
    """The voice of a sample.

    Args:
        row: row of the index.
        audio: sound of the sample, (640 T,) int16 at 16 kHz.
        num_frames: length of a window in frames.
        selection: what the sample must be like.

    Raises:
        ItemError: the sample cannot be mixed; gives the reason.
    """
    check_row(row, num_frames, selection)
    level_dbfs, active = find_activity(audio)
    if not math.isfinite(level_dbfs):
        raise ItemError(Reason.SILENT, "its sound has no measurable speech level.")
    voice = voice_of(row, level_dbfs=level_dbfs, active=active)
    if not len(window_starts(voice, num_frames, selection.min_activity)):
        raise ItemError(
            Reason.LITTLE_SPEECH,
            f"no window of {num_frames} frames has speech in {selection.min_activity:.0%} of them.",
        )
    return voice


def voice_of(row: IndexRow, *, level_dbfs: float, active: tuple[tuple[int, int], ...]) -> Voice:
    """A sample as a voice with a given level and given runs of frames with speech."""
    return Voice(
        key=row.key,
        speaker=row.speaker,
        group=row.group,
        gender=row.gender,
        num_frames=row.num_frames,
        level_dbfs=level_dbfs,
        sha256=row.audio_sha256,
        active=active,
    )


def check_row(row: IndexRow, num_frames: int, selection: SelectionConfig) -> None:
    """Pass when nothing in the row rules the sample out.

    Raises:
        ItemError: more than one voice, a score beyond its limit, not selected, or too short.
    """
    if row.multi_voice and not selection.allow_multi_voice:
        raise ItemError(Reason.MULTI_VOICE, "its sound may hold more than one voice.")
    for limits, sign, word in (
        (selection.max_quality, 1, "above"),
        (selection.min_quality, -1, "below"),
    ):
        for name, limit in sorted(limits.items()):
            value = row.quality.get(name, math.nan)
            if sign * value > sign * limit:  # false for NaN
                raise ItemError(
                    Reason.POOR_QUALITY, f"its {name} is {value:.4g}, {word} {limit:g}."
                )
    if reason := _parsed(selection.select).why_not(sample_scores(row)):
        raise ItemError(Reason.NOT_SELECTED, reason)
    if row.num_frames < num_frames:
        raise ItemError(
            Reason.TOO_SHORT, f"it has {row.num_frames} frames; a window has {num_frames}."
        )


def check_scores(
    names: Iterable[str], rows: Iterable[IndexRow], selection: SelectionConfig
) -> None:
    """Pass when the samples have the scores that the selection asks for.

    Args:
        names: names of the scores that the set has.
        rows: the samples; read only where the selection has an expression.
        selection: what a sample must be like.

    Raises:
        CheckError: no sample has a score of that name; most likely it is misspelt.
        UsageError: the expression compares a text with a number, or calculates with a text.
    """
    select = _parsed(selection.select)
    known = set(names)
    limits = {*selection.max_quality, *selection.min_quality}
    unknown = (limits - known) | (select.names - known - {*_TEXTS, *_FACTS})
    if known and unknown:
        raise CheckError(
            f"no sample has the score {', '.join(sorted(unknown))}; see `avsep inspect`."
        )
    try:
        for row in rows if select.names else ():
            select.selects(sample_scores(row))
    except ValueError as error:
        raise UsageError(f"mix.select: {error}") from error


def sample_scores(row: IndexRow) -> dict[str, Value]:
    """All values of a sample that an expression can use."""
    facts = {name: float(getattr(row, name)) for name in _FACTS}
    return {**row.quality, **facts, **{name: getattr(row, name) for name in _TEXTS}}


@lru_cache(maxsize=4)  # the same for each sample of a run
def _parsed(text: str) -> Expression:
    return Expression(text)
