"""clean: check every raw clip; writes a table and a drop report, no media."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from avsep.cleaning.check_clip import ClipCheck, check_clip
from avsep.cleaning.config import Thresholds
from avsep.cleaning.drops import drop_report
from avsep.cleaning.duplicates import find_duplicates, find_split_crossers
from avsep.cleaning.fingerprint import Fingerprint, packed_bytes
from avsep.cleaning.journal import append_check, read_checks
from avsep.cleaning.near_duplicates import find_near_duplicates
from avsep.cleaning.select import find_unselected
from avsep.cleaning.vad import check_vad
from avsep.errors import CheckError, ItemError, Reason
from avsep.expression import Expression
from avsep.files import replaced_directory, settings_hash, write_json, write_table
from avsep.outcome import Counts, Outcome
from avsep.processes import map_items
from avsep.progress import Progress
from avsep.schema import Clip, RawClip
from avsep.settings import as_values
from avsep.tables import Rows, arrow_schema, open_rows, table_of
from avsep.validation import check_at_least
from avsep.workspace import Workspace
from pipeline.execution.ledger import Ledger
from pipeline.execution.markers import read_marker, remove_stale_files, write_marker
from pipeline.execution.pool_settings import PoolSettings
from pipeline.execution.stage import Batch, Stage, StageReport

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

NAME = "clean"
VERSION = 3  # of the check; with a new version every clip is checked again


@dataclass(frozen=True, kw_only=True)
class CleanConfig(Thresholds, PoolSettings):
    """Settings of the clean stage.

    Attributes:
        select: expression over the scores that selects clips, e.g. `asd_conf > 1 and
            abs(av_offset) <= 3`, see `avsep.expression`; empty to select all. Scores of the face
            are only known after `extract`; `mix` selects by them.
        find_copies: also drop copies of another clip in another encoding, see
            `avsep.cleaning.near_duplicates`. Clips with exactly the same sound are always dropped.
        batch_size: number of clips per batch.
    """

    select: str = ""
    find_copies: bool = True
    batch_size: int = 200
    item_timeout_s: float = 120.0

    def __post_init__(self) -> None:
        Thresholds.__post_init__(self)
        PoolSettings.__post_init__(self)
        Expression(self.select)
        check_at_least(self, 1, "batch_size")

    @property
    def thresholds(self) -> Thresholds:
        """The thresholds alone: they decide the result of a check."""
        return Thresholds(**{f.name: getattr(self, f.name) for f in fields(Thresholds)})


def plan(config: CleanConfig, workspace: Workspace) -> list[Batch]:
    """Batches of raw clips, in the order of their ids.

    Raises:
        CheckError: the raw table is missing or damaged, or contains an id twice.
        UsageError: the package that measures speech is missing.
    """
    check_vad(config.speech)
    import pyarrow.compute as pc

    rows = open_rows(workspace.raw_table, RawClip)
    rows = rows.take(pc.sort_indices(rows.column("clip_id")))
    for (one,), (other,) in pairwise(rows.tuples("clip_id")):
        if one == other:
            raise CheckError(f"{workspace.raw_table} contains the clip {one} twice.")
    batches = []
    for first in range(0, len(rows), config.batch_size):
        chunk = rows[first : first + config.batch_size]
        settings = settings_hash(
            NAME, VERSION, as_values(config.thresholds), [vars(row) for row in chunk]
        )
        batches.append(
            Batch(
                name=f"{first // config.batch_size:05d}",
                items=tuple(chunk.column("clip_id").to_pylist()),
                settings=settings,
                rows=chunk,
            )
        )
    return batches


def work(
    config: CleanConfig, workspace: Workspace, batch: Batch, progress: Progress
) -> list[Outcome]:
    """Check the clips of a batch that have not been checked yet."""
    if finished := read_marker(workspace, NAME, batch):
        progress(len(batch.items))
        return finished[0]
    journal = journal_path(workspace, batch)
    outcomes = [_outcome(check.clip) for check in read_checks(journal)]
    progress(len(outcomes))
    checked = {outcome.item for outcome in outcomes}
    for row, result in map_items(
        partial(_check_timed, folder=workspace.raw, thresholds=config.thresholds),
        [row for row in batch.rows if row.clip_id not in checked],
        workers=config.num_workers,
        timeout_s=config.item_timeout_s,
    ):
        if isinstance(result, ItemError):
            outcomes.append(Outcome.ended(row.clip_id, result.reason, result.message))
        else:
            check, seconds = result
            append_check(journal, check)
            outcomes.append(_outcome(check.clip, seconds))
        progress(1)
    outcomes.sort(key=lambda outcome: outcome.item)
    write_marker(workspace, NAME, batch, outcomes)
    return outcomes


def finish(
    config: CleanConfig,
    workspace: Workspace,
    batches: Sequence[Batch],
    outcomes: Sequence[Outcome],
) -> StageReport:
    """Drop duplicates over all batches, then write the table and the drop report."""
    journals = [journal_path(workspace, batch) for batch in batches]
    remove_stale_files(workspace, NAME, batches, journals)
    ended = {outcome.item: outcome for outcome in outcomes}
    clips, sounds, prints = _checked(workspace, batches, ended)
    # Select before deduplicating: an unselected clip must not displace its duplicate.
    clips = _drop(clips, Reason.NOT_SELECTED, find_unselected(clips, Expression(config.select)))
    clips = _drop(
        clips,
        Reason.DUPLICATE,
        {
            i: f"its video is in the {split} split too."
            for i, split in find_split_crossers(clips).items()
        },
    )
    same = find_duplicates(_repeated(clips, sounds))
    clips = _drop(
        clips, Reason.DUPLICATE, {i: f"its sound is that of {other}." for i, other in same.items()}
    )
    if config.find_copies:
        clips = _drop(clips, Reason.DUPLICATE, _near_duplicates(clips, prints))
    changed = []
    for clip_id, kept, reason, message in clips.tuples("clip_id", "kept", "reason", "message"):
        before = ended[clip_id]
        if not kept and before.reason is None:
            ended[clip_id] = Outcome.ended(clip_id, Reason(reason), message, before.seconds)
            changed.append(replace(ended[clip_id], attempts=0))
    Ledger(workspace.ledger).record(NAME, changed)
    report = drop_report(clips)
    with replaced_directory(workspace.clips) as folder:
        write_table(folder / "clips.parquet", clips.table)
        write_json(folder / "drops.json", report)
    counts = Counts.of(ended.values())
    if not counts.done:
        raise CheckError(
            f"clean: no clip is kept ({counts}); `avsep ledger failures clean` says why."
        )
    return StageReport(
        stage=NAME,
        counts=counts,
        facts={
            "hours kept": round(report["kept"]["hours"], 3),
            "hours in": round(report["total"]["hours"], 3),
        },
    )


def _checked(
    workspace: Workspace, batches: Sequence[Batch], ended: Mapping[str, Outcome]
) -> tuple[Rows[Clip], pa.Array, pa.Array]:
    """All clips as they were checked, with the hash of the sound and the bytes of the fingerprint
    of each, which are empty for clips without. One batch at a time is held as objects.
    """
    import pyarrow as pa

    parts = [arrow_schema(Clip).empty_table()]
    sounds, prints = [pa.array([], pa.string())], [pa.array([], pa.binary())]
    for batch in batches:
        checks = {
            check.clip.clip_id: check for check in read_checks(journal_path(workspace, batch))
        }
        clips = [_clip(row, checks.get(row.clip_id), ended[row.clip_id]) for row in batch.rows]
        parts.append(table_of(clips, Clip))
        kept = [checks[clip.clip_id] if clip.kept else None for clip in clips]
        sounds.append(pa.array([check.sound_sha256 if check else "" for check in kept]))
        prints.append(
            pa.array([packed_bytes(check.fingerprint) if check else b"" for check in kept])
        )
    table = pa.concat_tables(parts).combine_chunks()
    return Rows(table, Clip), pa.concat_arrays(sounds), pa.concat_arrays(prints)


def _repeated(clips: Rows[Clip], sounds: pa.Array) -> dict[str, str]:
    """The hashes of sounds that several kept clips have, by clip id."""
    import pyarrow as pa
    import pyarrow.compute as pc

    table = pa.table({"clip_id": clips.column("clip_id"), "sound": sounds})
    table = table.filter(pc.and_(clips.column("kept"), pc.not_equal(sounds, "")))
    counts = pc.value_counts(table["sound"])
    several = counts.field("values").filter(pc.greater(counts.field("counts"), 1))
    table = table.filter(pc.is_in(table["sound"], several))
    return dict(zip(table["clip_id"].to_pylist(), table["sound"].to_pylist(), strict=True))


class _Prints(Sequence[Fingerprint]):
    """Some of many fingerprints, made when they are asked for."""

    def __init__(self, content: pa.Array, rows: NDArray[np.int64]) -> None:
        self._content, self._rows = content, rows

    def __len__(self) -> int:
        return len(self._rows)

    @overload
    def __getitem__(self, row: int) -> Fingerprint: ...
    @overload
    def __getitem__(self, row: slice) -> _Prints: ...
    def __getitem__(self, row: int | slice) -> Fingerprint | _Prints:
        if isinstance(row, slice):
            return _Prints(self._content, self._rows[row])
        return Fingerprint.of(self._content[int(self._rows[row])].as_py())


def _near_duplicates(clips: Rows[Clip], prints: pa.Array) -> dict[str, str]:
    """For each near duplicate among the kept clips, a sentence that says of which clip."""
    import pyarrow.compute as pc

    with_print = pc.and_(clips.column("kept"), pc.greater(pc.binary_length(prints), 0))
    among = clips.table.select(["clip_id", "start_s", "end_s"]).filter(with_print)
    lengths = pc.subtract(among["end_s"], among["start_s"]).to_numpy()
    found = find_near_duplicates(
        among["clip_id"].to_pylist(),
        lengths,
        _Prints(prints, with_print.to_numpy().nonzero()[0]),
    )
    return {
        clip_id: f"it is {one.of} in another encoding (sound similarity {one.similarity:.2f})."
        for clip_id, one in found.items()
    }


def _drop(clips: Rows[Clip], reason: Reason, why: Mapping[str, str]) -> Rows[Clip]:
    """The same clips, of which those with a sentence in `why` are no longer kept."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if not why:
        return clips
    ids = clips.column("clip_id").combine_chunks()
    gone = pc.is_in(ids, pa.array(why))
    sentences = pa.array([why[clip_id] for clip_id in ids.filter(gone).to_pylist()], pa.string())
    messages = clips.column("message").combine_chunks()
    return clips.changed(
        kept=pc.and_not(clips.column("kept"), gone),
        reason=pc.if_else(gone, str(reason), clips.column("reason")),
        message=pc.replace_with_mask(messages, gone, sentences),
    )


def _check_timed(row: RawClip, *, folder: Path, thresholds: Thresholds) -> tuple[ClipCheck, float]:
    started = time.monotonic()
    return check_clip(row, folder, thresholds), time.monotonic() - started


def _outcome(clip: Clip, seconds: float = 0.0) -> Outcome:
    if clip.kept:
        return Outcome.done(clip.clip_id, seconds)
    return Outcome.ended(clip.clip_id, Reason(clip.reason), clip.message, seconds)


def _clip(row: RawClip, check: ClipCheck | None, outcome: Outcome) -> Clip:
    """The row of a clip; a clip that failed has no scores."""
    if check is not None:
        return check.clip
    values: dict[str, Any] = vars(row)
    return Clip(**values, kept=False, reason=str(outcome.reason), message=outcome.message)


def journal_path(workspace: Workspace, batch: Batch) -> Path:
    """Where the checks of a batch lie."""
    return workspace.work(NAME) / f"{batch.name}-{batch.settings}.jsonl"


STAGE = Stage(
    NAME, CleanConfig, plan, work, finish, purpose="check every clip and drop what cannot be used"
)
