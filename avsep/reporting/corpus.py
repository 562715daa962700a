"""The data behind the figures: clips, hours and speakers by split, and what was dropped and why."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from avsep.errors import CheckError
from avsep.files import read_json
from avsep.outcome import Counts
from avsep.schema import SPLITS, Clip
from avsep.workspace import Workspace


@dataclass(frozen=True, kw_only=True)
class SplitLine:
    """One split of the corpus.

    Attributes:
        split: its name.
        clips: raw clips.
        kept: clips that `clean` kept.
        samples: face tracks in the shards.
        hours: of the samples.
        speakers: of the samples.
        voices: groups (base voices) of the samples.
        mixtures: listed mixtures.
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
class DropLine:
    """One reason why clips were left out by `clean`.

    Attributes:
        reason: of the closed list.
        state: `dropped` (the clip is unfit) or `failed` (something around it went wrong).
        clips: how many.
        hours: of them.
    """

    reason: str
    state: str
    clips: int
    hours: float


@dataclass(frozen=True, kw_only=True)
class Drops:
    """What `clean` left out.

    Attributes:
        lines: one for each reason, the most frequent first.
        by_gender: clips kept and clips in all by gender, so that a filter that hits one group
            more than another is seen.
    """

    lines: tuple[DropLine, ...] = ()
    by_gender: tuple[tuple[str, int, int], ...] = ()


@dataclass(frozen=True, kw_only=True)
class LedgerLine:
    """How the items of one stage ended."""

    stage: str
    done: int
    dropped: str
    failed: str


def split_lines(workspace: Workspace) -> list[SplitLine]:
    """One line for each split that has anything."""
    from avsep.shards.index import read_index

    clips = _clips(workspace)
    has_shards = (workspace.shards / "index.parquet").is_file()
    samples = read_index(workspace.shards) if has_shards else []
    lines = []
    for split in SPLITS:
        mine = [clip for clip in clips if clip.split == split]
        rows = [row for row in samples if row.split == split]
        if mine or rows:
            lines.append(
                SplitLine(
                    split=split,
                    clips=len(mine),
                    kept=sum(clip.kept for clip in mine),
                    samples=len(rows),
                    hours=sum(row.duration_s for row in rows) / 3600,
                    speakers=len({row.speaker for row in rows}),
                    voices=len({row.group for row in rows}),
                    mixtures=_count_lines(workspace, split),
                )
            )
    return lines


def drops(workspace: Workspace) -> Drops | None:
    """What `clean` left out, from its `drops.json`; None where it has not run.

    Raises:
        CheckError: the file is damaged.
    """
    path = workspace.clips / "drops.json"
    if not path.is_file():
        return None
    content = read_json(path)
    try:
        lines = [
            DropLine(
                reason=reason,
                state=line["state"],
                clips=int(line["clips"]),
                hours=float(line["hours"]),
            )
            for reason, line in content["by_reason"].items()
        ]
        by_gender = [
            (gender, int(line["kept_clips"]), int(line["clips"]))
            for gender, line in sorted(content["by_gender"].items())
        ]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise CheckError(f"{path} is damaged: {type(error).__name__} {error}.") from error
    lines.sort(key=lambda line: (-line.clips, line.reason))
    return Drops(lines=tuple(lines), by_gender=tuple(by_gender))


def ledger_lines(counts: Mapping[str, Counts]) -> list[LedgerLine]:
    """One line per stage that has items, in the given order."""
    return [
        LedgerLine(
            stage=stage,
            done=of_stage.done,
            dropped=_by_reason(of_stage.dropped.items()),
            failed=_by_reason(of_stage.failed.items()),
        )
        for stage, of_stage in counts.items()
    ]


def _by_reason(pairs: Iterable[tuple[str, int]]) -> str:
    return ", ".join(f"{reason} {count}" for reason, count in sorted(pairs)) or "0"


def _clips(workspace: Workspace) -> list[Clip]:
    from avsep.tables import read_rows

    path = workspace.clips / "clips.parquet"
    return read_rows(path, Clip) if path.is_file() else []


def _count_lines(workspace: Workspace, split: str) -> int:
    path = workspace.mixtures / f"{split}.jsonl"
    if not path.is_file():
        return 0
    with path.open("rb") as handle:
        return sum(1 for line in handle if line.strip())
