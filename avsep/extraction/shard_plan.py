"""Which clip goes into which shard: a set grows by new shards and never changes old ones.

The plan is a table that is tracked with the shards. Clips in the plan stay where they are. All
other clips form a new batch, ordered by the hash of their ids and divided into new shards.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from avsep.schema import SPLITS, Clip
from avsep.tables import read_rows, write_rows


@dataclass(frozen=True, kw_only=True, slots=True)
class PlannedClip:
    """One row of the plan.

    Attributes:
        batch: number of the batch that the clip came with, from 0.
        shard: name of the shard, without `.tar`.
        split: split of the clip when it was planned.
        clip_id: id of the clip.
    """

    batch: int
    shard: str
    split: str
    clip_id: str


def read_plan(path: Path) -> list[PlannedClip]:
    """The last published plan; empty before the first one.

    Raises:
        CheckError: the file is damaged.
    """
    return read_rows(path, PlannedClip) if path.exists() else []


def write_plan(path: Path, plan: Iterable[PlannedClip]) -> None:
    """Write the plan; an iterator is never held in memory as a whole."""
    write_rows(path, plan, PlannedClip)


def plan_shards(
    clips: Iterable[Clip], before: Sequence[PlannedClip], clips_per_shard: int
) -> list[PlannedClip]:
    """Assign every clip to a shard.

    Args:
        clips: all clips of the set.
        before: the last published plan. A clip with another split than in it counts as new; a clip
            that no longer exists leaves its shard.
        clips_per_shard: number of clips of one split in a new shard.

    Returns:
        The plan, ordered by split and shard, and by clip id within a shard.
    """
    placed = {(row.clip_id, row.split): row for row in before}
    kept: list[PlannedClip] = []
    new: dict[str, list[str]] = {split: [] for split in SPLITS}
    for clip in clips:
        row = placed.get((clip.clip_id, clip.split))
        if row is None:
            new[clip.split].append(clip.clip_id)
        else:
            kept.append(row)
    batch = 1 + max((row.batch for row in before), default=-1)
    return sorted([*kept, *_cut(new, batch, clips_per_shard)], key=_order)


def _cut(clips: Mapping[str, list[str]], batch: int, clips_per_shard: int) -> Iterable[PlannedClip]:
    for split, ids in clips.items():
        # The hash spreads clips of one corpus or speaker over the shards.
        ordered = sorted(ids, key=lambda clip_id: hashlib.sha256(clip_id.encode()).digest())
        for place, clip_id in enumerate(ordered):
            number = place // clips_per_shard
            shard = f"{split}-b{batch:03d}-{number:06d}" if batch else f"{split}-{number:06d}"
            yield PlannedClip(batch=batch, shard=shard, split=split, clip_id=clip_id)


def _order(row: PlannedClip) -> tuple[int, int, str, str]:
    return SPLITS.index(row.split), row.batch, row.shard, row.clip_id
