"""Whether the ledger, the tables and the files on the disk say the same."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from avsep.errors import CheckError, State
from avsep.files import sha256_file
from avsep.outcome import Outcome
from avsep.schema import Clip, RawClip
from avsep.tables import open_rows
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
    import pyarrow.compute as pc

    try:
        rows = open_rows(workspace.raw_table, RawClip)
    except CheckError as error:
        yield f"download has not finished: {error} Run the stage again."
        return
    ended = ledger.each_outcome("download")
    done = {outcome.item: outcome.sha256 for outcome in ended if outcome.state is State.DONE}
    ids = {clip_id for (clip_id,) in rows.tuples("clip_id")}
    for item in sorted(done.keys() - ids):
        yield f"{item} is done in the ledger and not in {workspace.raw_table.name}."
    for item in sorted(ids - done.keys()):
        yield f"{item} is in {workspace.raw_table.name} and not done in the ledger."
    del ids
    ordered = rows.take(pc.sort_indices(rows.column("clip_id")))
    for clip_id, *file in ordered.tuples("clip_id", "path", "size_bytes", "sha256"):
        if clip_id in done:
            yield from _file(workspace, clip_id, done[clip_id], *file, deep=deep)
    yield from _unexpected_files(workspace.raw, {path for (path,) in rows.tuples("path")})
    yield from _sources(ledger)


def _file(
    workspace: Workspace,
    clip_id: str,
    in_ledger: str,
    name: str,
    size_bytes: int,
    sha256: str,
    *,
    deep: bool,
) -> Iterator[str]:
    path = workspace.raw / name
    if in_ledger not in ("", sha256):
        yield f"{clip_id} has another sha256 in the ledger than in the table."
    if not path.is_file():
        yield f"{clip_id} is done and its file {name} is missing."
    elif path.stat().st_size != size_bytes or (deep and sha256_file(path) != sha256):
        yield f"{clip_id}: {name} is not the file that was downloaded."


def _unexpected_files(raw: Path, wanted: set[str]) -> Iterator[str]:
    """Files below the corpora's folders that no row names: half-written or left over."""
    for corpus in sorted({path.partition("/")[0] for path in wanted}):
        found = []
        for folder, folders, files in os.walk(raw / corpus):
            for name in (*folders, *files):
                path = os.path.join(folder, name)  # noqa: PTH118  (a million of them)
                is_file = os.path.isfile(path) or os.path.islink(path)  # noqa: PTH113, PTH114
                if is_file and os.path.relpath(path, raw) not in wanted:
                    found.append(Path(path))
        for file in sorted(found):
            yield f"{file.relative_to(raw)} is in no row of the table."


def _sources(ledger: Ledger) -> Iterator[str]:
    """A video that is gone has no clip that is done, and none is left half-way."""
    sources = ledger.sources("download")
    # Of the others nothing can be wrong.
    clips_of: dict[str, list[Outcome]] = {
        name: [] for name, row in sources.items() if row.state in (None, State.DROPPED)
    }
    for outcome in ledger.each_outcome("download") if clips_of else ():
        if outcome.source in clips_of:
            clips_of[outcome.source].append(outcome)
    for name, clips in clips_of.items():
        source = sources[name]
        if source.state is None and clips:
            yield f"the video {name} is still to be tried, and its clips have ended."
        if source.state is State.DROPPED:
            for clip in clips:
                if clip.state is State.FAILED:
                    yield f"the video {name} is {source.reason}, and {clip.item} counts as failed."


def _clips(workspace: Workspace, ledger: Ledger) -> Iterator[str]:
    try:
        clips = open_rows(workspace.clips / "clips.parquet", Clip)
    except CheckError as error:
        yield f"clean has not finished: {error} Run the stage again."
        return
    reason_of = {o.item: str(o.reason or "") for o in ledger.each_outcome("clean")}
    known = {clip_id for (clip_id,) in clips.tuples("clip_id")}
    for item in sorted(reason_of.keys() - known):
        yield f"{item} is in the ledger of clean and not in clips.parquet."
    for clip_id, reason in clips.tuples("clip_id", "reason"):
        if clip_id not in reason_of:
            yield f"{clip_id} is in clips.parquet and not in the ledger."
        elif reason_of[clip_id] != reason:
            yield (
                f"{clip_id} is {reason_of[clip_id] or 'done'} in the ledger and"
                f" {reason or 'kept'} in clips.parquet."
            )
