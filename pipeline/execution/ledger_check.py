"""Whether the ledger, the tables and the files on the disk say the same."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from avsep.errors import CheckError, State
from avsep.files import sha256_file
from avsep.outcome import Outcome
from avsep.schema import Clip, RawClip
from avsep.tables import read_rows
from avsep.workspace import Workspace
from pipeline.execution.ledger import Ledger


def check_ledger(workspace: Workspace, *, deep: bool = False) -> list[str]:
    """What does not agree, one sentence each; empty when all does.

    Args:
        workspace: the project's folders.
        deep: compare the sha256 of every raw file too.
    """
    ledger = Ledger.existing(workspace.ledger)
    stages = ledger.stages()
    problems: list[str] = []
    if "download" in stages:
        problems += _downloads(workspace, ledger, deep=deep)
    if "clean" in stages:
        problems += _clips(workspace, ledger)
    return problems


def _downloads(workspace: Workspace, ledger: Ledger, *, deep: bool) -> Iterator[str]:
    outcomes = ledger.outcomes("download")
    try:
        rows = {row.clip_id: row for row in read_rows(workspace.raw_table, RawClip)}
    except CheckError as error:
        yield f"download has not finished: {error} Run the stage again."
        return
    done = {item for item, outcome in outcomes.items() if outcome.state is State.DONE}
    for item in sorted(done - rows.keys()):
        yield f"{item} is done in the ledger and not in {workspace.raw_table.name}."
    for item in sorted(rows.keys() - done):
        yield f"{item} is in {workspace.raw_table.name} and not done in the ledger."
    for item in sorted(done & rows.keys()):
        yield from _file(workspace, rows[item], outcomes[item], deep=deep)
    yield from _unexpected_files(workspace, list(rows.values()))
    yield from _sources(ledger, outcomes)


def _file(workspace: Workspace, row: RawClip, outcome: Outcome, *, deep: bool) -> Iterator[str]:
    path = workspace.raw / row.path
    if outcome.sha256 not in ("", row.sha256):
        yield f"{row.clip_id} has another sha256 in the ledger than in the table."
    if not path.is_file():
        yield f"{row.clip_id} is done and its file {row.path} is missing."
    elif path.stat().st_size != row.size_bytes or (deep and sha256_file(path) != row.sha256):
        yield f"{row.clip_id}: {row.path} is not the file that was downloaded."


def _unexpected_files(workspace: Workspace, rows: list[RawClip]) -> Iterator[str]:
    """Files below the corpora's folders that no row names: half-written or left over."""
    wanted = {workspace.raw / row.path for row in rows}
    for corpus in sorted({Path(row.path).parts[0] for row in rows}):
        for path in sorted((workspace.raw / corpus).rglob("*")):
            if (path.is_file() or path.is_symlink()) and path not in wanted:
                yield f"{path.relative_to(workspace.raw)} is in no row of the table."


def _sources(ledger: Ledger, outcomes: dict[str, Outcome]) -> Iterator[str]:
    """A video that is gone has no clip that is done, and none is left half-way."""
    clips_of: dict[str, list[Outcome]] = defaultdict(list)
    for outcome in outcomes.values():
        clips_of[outcome.source].append(outcome)
    for name, source in ledger.sources("download").items():
        clips = clips_of[name]
        if source.state is None and clips:
            yield f"the video {name} is still to be tried, and its clips have ended."
        if source.state is State.DROPPED:
            for clip in clips:
                if clip.state is State.FAILED:
                    yield f"the video {name} is {source.reason}, and {clip.item} counts as failed."


def _clips(workspace: Workspace, ledger: Ledger) -> Iterator[str]:
    try:
        clips = read_rows(workspace.clips / "clips.parquet", Clip)
    except CheckError as error:
        yield f"clean has not finished: {error} Run the stage again."
        return
    outcomes = ledger.outcomes("clean")
    known = {clip.clip_id for clip in clips}
    for item in sorted(outcomes.keys() - known):
        yield f"{item} is in the ledger of clean and not in clips.parquet."
    for clip in clips:
        outcome = outcomes.get(clip.clip_id)
        if outcome is None:
            yield f"{clip.clip_id} is in clips.parquet and not in the ledger."
        elif str(outcome.reason or "") != clip.reason:
            yield (
                f"{clip.clip_id} is {outcome.reason or 'done'} in the ledger and"
                f" {clip.reason or 'kept'} in clips.parquet."
            )
