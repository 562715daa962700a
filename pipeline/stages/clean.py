"""clean: probe and judge every raw clip; writes a table and a drop report, no media."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from functools import lru_cache, partial
from itertools import pairwise
from pathlib import Path
from typing import Any

from pipeline.clean.activity import check_method
from pipeline.clean.copies import find_copies
from pipeline.clean.drops import drop_report
from pipeline.clean.duplicates import find_duplicates, find_split_crossers
from pipeline.clean.fingerprint import Fingerprint
from pipeline.clean.journal import Journal
from pipeline.clean.judge import Limits, Verdict, judge
from pipeline.clean.select import find_unselected
from pipeline.config import as_values
from pipeline.errors import CheckError, ItemError, Reason
from pipeline.expression import Expression
from pipeline.ledger import Counts, Ledger, Outcome
from pipeline.markers import forget_strangers, read_marker, write_marker
from pipeline.runner import Batch, Progress, StageReport, default_workers, map_items
from pipeline.schema import Clip, RawClip
from pipeline.storage import Workspace, fresh_directory, settings_hash, write_json
from pipeline.tables import read_rows, write_rows

STAGE = "clean"
VERSION = 2  # of the judging; a new one judges every clip again


@dataclass(frozen=True, kw_only=True)
class CleanConfig(Limits):
    """Settings of `clean`; the thresholds are those of `Limits`.

    Attributes:
        select: which of the fit clips are wanted, by an expression over their scores, e.g.
            `asd_conf > 1 and abs(av_offset) <= 3`; see `pipeline.expression`. Empty: all. Scores
            of the face are known after `extract` alone; `mix` picks by them.
        find_copies: drop also what is a copy of another clip in another encoding; see
            `pipeline.clean.copies`. What has the very same sound goes in any case.
        workers: processes; None for one a core, 0 to work in the main process.
        batch_size: clips in one unit of work.
        item_timeout_s: for one clip.
        max_failed_share: of clips that could not be judged; above it the stage fails.
    """

    select: str = ""
    find_copies: bool = True
    workers: int | None = None
    batch_size: int = 200
    item_timeout_s: float = 120.0
    max_failed_share: float = 0.02

    def __post_init__(self) -> None:
        super().__post_init__()
        Expression(self.select)
        if self.workers is not None and self.workers < 0:
            raise ValueError(f"workers is {self.workers}; it must be 0 or more, or empty.")
        if self.batch_size < 1:
            raise ValueError(f"batch_size is {self.batch_size}; it must be at least 1.")
        if self.item_timeout_s <= 0:
            raise ValueError(f"item_timeout_s is {self.item_timeout_s}; it must be above 0.")
        if not 0 <= self.max_failed_share <= 1:
            raise ValueError(f"max_failed_share is {self.max_failed_share}; it must be in 0..1.")

    @property
    def limits(self) -> Limits:
        """The thresholds alone: what decides a verdict."""
        return Limits(**{f.name: getattr(self, f.name) for f in fields(Limits)})


def plan(config: CleanConfig, workspace: Workspace) -> list[Batch]:
    """Batches of raw clips in the order of their ids.

    Raises:
        CheckError: the raw table is missing or damaged, or has an id twice.
        UsageError: speech is to be measured by a package that is missing.
    """
    check_method(config.speech)
    rows = sorted(_raw_clips(workspace), key=lambda row: row.clip_id)
    for one, other in pairwise(rows):
        if one.clip_id == other.clip_id:
            raise CheckError(f"{workspace.raw_table} has the clip {one.clip_id} twice.")
    batches = []
    for first in range(0, len(rows), config.batch_size):
        chunk = rows[first : first + config.batch_size]
        settings = settings_hash(
            STAGE, VERSION, as_values(config.limits), [asdict(row) for row in chunk]
        )
        batches.append(
            Batch(
                name=f"{first // config.batch_size:05d}",
                items=tuple(row.clip_id for row in chunk),
                settings=settings,
            )
        )
    return batches


def work(
    config: CleanConfig, workspace: Workspace, batch: Batch, progress: Progress
) -> list[Outcome]:
    """Judge the clips of a batch that have no verdict yet."""
    if finished := read_marker(workspace, STAGE, batch):
        progress(len(batch.items))
        return finished[0]
    wanted = set(batch.items)
    with _journal(workspace, batch) as journal:
        outcomes = [_outcome(verdict.clip) for verdict in journal.verdicts()]
        progress(len(outcomes))
        judged = {outcome.item for outcome in outcomes}
        todo = [row for row in _raw_clips(workspace) if row.clip_id in wanted - judged]
        for row, result in map_items(
            partial(_judge_timed, folder=workspace.raw, limits=config.limits),
            sorted(todo, key=lambda row: row.clip_id),
            workers=default_workers() if config.workers is None else config.workers,
            timeout_s=config.item_timeout_s,
        ):
            if isinstance(result, ItemError):
                outcomes.append(Outcome.ended(row.clip_id, result.reason, result.message))
            else:
                verdict, seconds = result
                journal.add(verdict)
                outcomes.append(_outcome(verdict.clip, seconds))
            progress(1)
    outcomes.sort(key=lambda outcome: outcome.item)
    write_marker(workspace, STAGE, batch, outcomes)
    return outcomes


def finish(config: CleanConfig, workspace: Workspace, outcomes: Sequence[Outcome]) -> StageReport:
    """Drop duplicates over all batches, then write the table and the drop report."""
    batches = plan(config, workspace)
    _forget_old_work(workspace, batches)
    verdicts: dict[str, Verdict] = {}
    for batch in batches:
        with _journal(workspace, batch) as journal:
            verdicts |= {verdict.clip.clip_id: verdict for verdict in journal.verdicts()}
    ended = {outcome.item: outcome for outcome in outcomes}
    clips = [
        _clip(row, verdicts.get(row.clip_id), ended[row.clip_id])
        for row in sorted(_raw_clips(workspace), key=lambda row: row.clip_id)
    ]
    # The wish comes first, so that a clip nobody wants does not drive out its double.
    unselected = find_unselected(clips, Expression(config.select))
    clips = _dropped(clips, Reason.NOT_SELECTED, unselected)
    crossers = find_split_crossers(clips)
    clips = _dropped(
        clips,
        Reason.DUPLICATE,
        {i: f"its video is in the {split} split too." for i, split in crossers.items()},
    )
    sounds = {c.clip_id: verdicts[c.clip_id].sound_sha256 for c in clips if c.kept}
    clips = _dropped(
        clips,
        Reason.DUPLICATE,
        {i: f"its sound is that of {other}." for i, other in find_duplicates(sounds).items()},
    )
    if config.find_copies:
        clips = _dropped(clips, Reason.DUPLICATE, _copies(clips, verdicts))
    for clip in clips:
        if not clip.kept and ended[clip.clip_id].reason is None:
            ended[clip.clip_id] = _outcome(clip, ended[clip.clip_id].seconds)
    changed = [ended[clip.clip_id] for clip in clips if clip.clip_id in verdicts]
    Ledger(workspace.ledger).record(STAGE, [replace(outcome, attempts=0) for outcome in changed])
    folder = fresh_directory(workspace.clips)
    write_rows(folder / "clips.parquet", clips, Clip)
    report = drop_report(clips)
    write_json(folder / "drops.json", report)
    return StageReport(
        stage=STAGE,
        counts=Counts.of(ended.values()),
        facts={
            "hours kept": round(report["kept"]["hours"], 3),
            "hours in": round(report["total"]["hours"], 3),
        },
    )


def _copies(clips: Sequence[Clip], verdicts: Mapping[str, Verdict]) -> dict[str, str]:
    """Why a clip that is kept so far is another one in another encoding."""
    prints = {
        clip.clip_id: (clip.duration_s, print_)
        for clip in clips
        if clip.kept and (print_ := Fingerprint.unpacked(verdicts[clip.clip_id].fingerprint))
    }
    return {
        clip_id: f"it is {copy.of} in another encoding (sounds alike by {copy.likeness:.2f})."
        for clip_id, copy in find_copies(prints).items()
    }


def _dropped(clips: Sequence[Clip], reason: Reason, why: Mapping[str, str]) -> list[Clip]:
    """The same clips; those with a sentence in `why` are no longer kept."""
    return [
        replace(clip, kept=False, reason=str(reason), message=why[clip.clip_id])
        if clip.clip_id in why
        else clip
        for clip in clips
    ]


def _judge_timed(row: RawClip, *, folder: Path, limits: Limits) -> tuple[Verdict, float]:
    started = time.monotonic()
    return judge(row, folder, limits), time.monotonic() - started


def _outcome(clip: Clip, seconds: float = 0.0) -> Outcome:
    if clip.kept:
        return Outcome.done(clip.clip_id, seconds)
    return Outcome.ended(clip.clip_id, Reason(clip.reason), clip.message, seconds)


def _clip(row: RawClip, verdict: Verdict | None, outcome: Outcome) -> Clip:
    """The row of a clip; one that failed has no scores."""
    if verdict is not None:
        return verdict.clip
    values: dict[str, Any] = vars(row)
    return Clip(**values, kept=False, reason=str(outcome.reason), message=outcome.message)


def _journal(workspace: Workspace, batch: Batch) -> Journal:
    return Journal(workspace.work(STAGE) / f"{batch.name}-{batch.settings}.jsonl")


def _forget_old_work(workspace: Workspace, batches: Sequence[Batch]) -> None:
    forget_strangers(workspace, STAGE, batches)
    wanted = {f"{batch.name}-{batch.settings}.jsonl" for batch in batches}
    for path in sorted(workspace.work(STAGE).glob("*.jsonl")):
        if path.name not in wanted:
            path.unlink()


def _raw_clips(workspace: Workspace) -> tuple[RawClip, ...]:
    path = workspace.raw_table
    stamp = path.stat().st_mtime_ns if path.exists() else 0
    return _read_raw_table(path, stamp)


@lru_cache(maxsize=1)  # one batch after the other asks for it
def _read_raw_table(path: Path, stamp_ns: int) -> tuple[RawClip, ...]:
    return tuple(read_rows(path, RawClip))
