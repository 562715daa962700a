"""The drop report: kept and dropped clips by reason, speaker, gender and split."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from avsep.errors import Reason
from avsep.schema import Clip


def drop_report(clips: Iterable[Clip]) -> dict[str, Any]:
    """Count clips and hours.

    `by_gender` and `by_speaker` show where a filter drops one group of people more than another.
    Hours count the span that sound and video share; a file that cannot be read has none.

    Returns:
        `total` and `kept` with `clips` and `hours`; `by_reason` with the same and `state`
        (dropped or failed); `by_speaker`, `by_gender` and `by_split` with `clips`, `hours`,
        `kept_clips`, `kept_hours` and `reasons` (number of clips per reason).
    """
    every = list(clips)
    gone = [clip for clip in every if not clip.kept]
    by_reason = {
        reason: _sum(items) | {"state": str(Reason(reason).state)}
        for reason, items in _grouped(gone, lambda clip: clip.reason).items()
    }
    return {
        "total": _sum(every),
        "kept": _sum(clip for clip in every if clip.kept),
        "by_reason": by_reason,
        "by_speaker": _by(every, lambda clip: clip.speaker),
        "by_gender": _by(every, lambda clip: clip.gender or "unknown"),
        "by_split": _by(every, lambda clip: clip.split),
    }


def _by(clips: list[Clip], key: Callable[[Clip], str]) -> dict[str, Any]:
    table = {}
    for name, items in _grouped(clips, key).items():
        kept = _sum(clip for clip in items if clip.kept)
        gone = _grouped([clip for clip in items if not clip.kept], lambda clip: clip.reason)
        table[name] = _sum(items) | {
            "kept_clips": kept["clips"],
            "kept_hours": kept["hours"],
            "reasons": {reason: len(items) for reason, items in gone.items()},
        }
    return table


def _grouped(clips: list[Clip], key: Callable[[Clip], str]) -> dict[str, list[Clip]]:
    groups: dict[str, list[Clip]] = {}
    for clip in clips:
        groups.setdefault(key(clip), []).append(clip)
    return dict(sorted(groups.items()))


def _sum(clips: Iterable[Clip]) -> dict[str, Any]:
    durations = [clip.duration_s for clip in clips]
    return {"clips": len(durations), "hours": round(sum(durations) / 3600, 6)}
