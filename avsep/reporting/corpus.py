"""The data behind the results: clips, hours and speakers per split, and the dropped clips."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from avsep.errors import CheckError
from avsep.files import read_json
from avsep.schema import FPS, SPLITS, Clip
from avsep.workspace import Workspace

if TYPE_CHECKING:
    from avsep.shards.index import Index


@dataclass(frozen=True, kw_only=True)
class SplitRow:
    """One split of the corpus.

    Attributes:
        split: name of the split.
        clips: number of raw clips.
        kept: number of clips that `clean` kept.
        samples: number of samples (face tracks) in the shards.
        hours: total length of the samples, in hours.
        speakers: number of speakers of the samples.
        voices: number of groups (base voices) of the samples.
        mixtures: number of listed mixtures.
    """

    split: str
    clips: int
    kept: int
    samples: int
    hours: float
    speakers: int
    voices: int
    mixtures: int


@dataclass(frozen=True, kw_only=True)
class DropRow:
    """One reason why `clean` dropped clips.

    Attributes:
        reason: code of the reason.
        state: `dropped` (the clip is unsuitable) or `failed` (an error occurred).
        clips: number of clips.
        hours: total length of these clips, in hours.
    """

    reason: str
    state: str
    clips: int
    hours: float


@dataclass(frozen=True, kw_only=True)
class DroppedClips:
    """The clips that `clean` dropped.

    Attributes:
        rows: one row per reason, the most frequent first.
        by_gender: gender, number of kept clips and number of all clips; it shows a filter that
            drops more clips of one group than of another.
    """

    rows: tuple[DropRow, ...] = ()
    by_gender: tuple[tuple[str, int, int], ...] = ()


def split_rows(workspace: Workspace) -> list[SplitRow]:
    """One row per split that has clips or samples."""
    from avsep.shards.index import read_index

    clips = _count_clips(workspace)
    has_shards = (workspace.shards / "index.parquet").is_file()
    index = read_index(workspace.shards) if has_shards else None
    rows = []
    for split in SPLITS:
        samples: Any = () if index is None else index.positions("split", split)
        if clips[split, True] or clips[split, False] or len(samples):
            rows.append(
                SplitRow(
                    split=split,
                    clips=clips[split, True] + clips[split, False],
                    kept=clips[split, True],
                    mixtures=_count_lines(workspace, split),
                    **_of_samples(index, samples),
                )
            )
    return rows


def _of_samples(index: Index | None, rows: Any) -> dict[str, Any]:
    if index is None:
        return {"samples": 0, "hours": 0.0, "speakers": 0, "voices": 0}
    return {
        "samples": len(rows),
        "hours": int(index.column("num_frames")[rows].sum()) / FPS / 3600,
        "speakers": len(set(index.codes("speaker")[0][rows].tolist())),
        "voices": len(set(index.codes("group")[0][rows].tolist())),
    }


def dropped_clips(workspace: Workspace) -> DroppedClips | None:
    """The clips that `clean` dropped, from its `drops.json`; None if it has not run.

    Raises:
        CheckError: the file is damaged.
    """
    path = workspace.clips / "drops.json"
    if not path.is_file():
        return None
    content = read_json(path)
    try:
        rows = [
            DropRow(
                reason=reason,
                state=entry["state"],
                clips=int(entry["clips"]),
                hours=float(entry["hours"]),
            )
            for reason, entry in content["by_reason"].items()
        ]
        by_gender = [
            (gender, int(entry["kept_clips"]), int(entry["clips"]))
            for gender, entry in sorted(content["by_gender"].items())
        ]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise CheckError(f"{path} is damaged: {type(error).__name__} {error}.") from error
    rows.sort(key=lambda row: (-row.clips, row.reason))
    return DroppedClips(rows=tuple(rows), by_gender=tuple(by_gender))


def _count_clips(workspace: Workspace) -> Counter[tuple[str, bool]]:
    """The number of clips by split and whether they were kept."""
    from avsep.tables import open_rows

    path = workspace.clips / "clips.parquet"
    return Counter(open_rows(path, Clip).tuples("split", "kept") if path.is_file() else ())


def _count_lines(workspace: Workspace, split: str) -> int:
    path = workspace.mixtures / f"{split}.jsonl"
    if not path.is_file():
        return 0
    with path.open("rb") as handle:
        return sum(1 for line in handle if line.strip())
