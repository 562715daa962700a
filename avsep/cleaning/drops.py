"""The drop report: kept and dropped clips by reason, speaker, gender and split."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
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
    total, kept = _Sum(), _Sum()
    by_reason: dict[str, _Sum] = defaultdict(_Sum)
    groups: dict[str, dict[str, _Group]] = {
        name: defaultdict(_Group) for name in ("by_speaker", "by_gender", "by_split")
    }
    for clip in clips:
        total.add(clip)
        (kept if clip.kept else by_reason[clip.reason]).add(clip)
        for name, group in zip(groups, (clip.speaker, clip.gender, clip.split), strict=True):
            groups[name][group or "unknown"].add(clip)
    return {
        "total": total.values(),
        "kept": kept.values(),
        "by_reason": {
            reason: found.values() | {"state": str(Reason(reason).state)}
            for reason, found in sorted(by_reason.items())
        },
        **{
            name: {group: found.values() for group, found in sorted(table.items())}
            for name, table in groups.items()
        },
    }


class _Sum:
    """Number and length of clips."""

    def __init__(self) -> None:
        self._clips, self._seconds = 0, 0.0

    def add(self, clip: Clip) -> None:
        self._clips += 1
        self._seconds += clip.duration_s

    def values(self) -> dict[str, Any]:
        return {"clips": self._clips, "hours": round(self._seconds / 3600, 6)}


class _Group:
    """The clips of one speaker, gender or split."""

    def __init__(self) -> None:
        self._all, self._kept = _Sum(), _Sum()
        self._reasons: Counter[str] = Counter()

    def add(self, clip: Clip) -> None:
        self._all.add(clip)
        if clip.kept:
            self._kept.add(clip)
        else:
            self._reasons[clip.reason] += 1

    def values(self) -> dict[str, Any]:
        kept = {f"kept_{name}": value for name, value in self._kept.values().items()}
        return self._all.values() | kept | {"reasons": dict(sorted(self._reasons.items()))}
