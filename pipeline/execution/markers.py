"""Completion markers: which batches a killed stage need not do again, and how to retry items.

A batch's marker is written last, after all its files. It holds the hash of the batch's settings
and inputs, and the outcome of each item. A batch with the same hash is skipped; with another hash
it is done again.
"""

from __future__ import annotations

import shutil
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from avsep.errors import FAILURE_KINDS, CheckError, Reason, State, UsageError
from avsep.files import read_json, write_json
from avsep.outcome import Outcome
from avsep.workspace import Workspace
from pipeline.execution.ledger import Ledger
from pipeline.execution.turn import own_turn

if TYPE_CHECKING:
    from pipeline.execution.stage import Batch

SUFFIX = ".done.json"


def marker_path(workspace: Workspace, stage: str, name: str) -> Path:
    """Where the marker of a batch lies."""
    return workspace.work(stage) / f"{name}{SUFFIX}"


def write_marker(
    workspace: Workspace,
    stage: str,
    batch: Batch,
    outcomes: Iterable[Outcome],
    facts: dict[str, Any] | None = None,
) -> None:
    """Mark a batch as finished.

    Args:
        workspace: the project's folders.
        stage: its name.
        batch: the finished batch.
        outcomes: one of each item.
        facts: JSON-able values that the stage wants back, e.g. hashes of the files it wrote.
    """
    rows = [
        [o.item, str(o.state), str(o.reason or ""), o.message]
        for o in sorted(outcomes, key=lambda o: o.item)
    ]
    write_json(
        marker_path(workspace, stage, batch.name),
        {"settings": batch.settings, "outcomes": rows, "facts": facts or {}},
    )


def read_marker(
    workspace: Workspace, stage: str, batch: Batch
) -> tuple[list[Outcome], dict[str, Any]] | None:
    """The outcomes and facts of a finished batch; None when it must be done (again)."""
    content = _content(marker_path(workspace, stage, batch.name))
    if content is None or content["settings"] != batch.settings:
        return None
    outcomes = _outcomes(content)
    return (outcomes, content["facts"]) if len(outcomes) == len(batch.items) else None


def known_outcomes(workspace: Workspace, stage: str, batch: Batch) -> list[Outcome]:
    """What the marker of a batch knows, also when some of its items are to be tried again."""
    content = _content(marker_path(workspace, stage, batch.name))
    if content is None or content["settings"] != batch.settings:
        return []
    return _outcomes(content)


def clear_failures(
    stage: str,
    workspace: Workspace,
    reasons: Collection[Reason] | None = None,
    batches: Iterable[Batch] | None = None,
) -> int:
    """Take failed items out of the markers, so that they are tried again.

    What was done or dropped stays as it is.

    Args:
        stage: its name.
        workspace: the project's folders.
        reasons: reasons of the failures to clear; None for all.
        batches: those to look at; None for all of the stage, also those that others work on.

    Returns:
        The number of items taken out.
    """
    count = 0
    if batches is None:
        paths = sorted(workspace.work(stage).glob(f"*{SUFFIX}"))
    else:
        paths = [marker_path(workspace, stage, batch.name) for batch in batches]
    for path in paths:
        content = _content(path)
        if content is None:
            continue
        outcomes = _outcomes(content)
        kept = [
            row
            for row, outcome in zip(content["outcomes"], outcomes, strict=True)
            if outcome.state is not State.FAILED
            or not (reasons is None or outcome.reason in reasons)
        ]
        if len(kept) < len(outcomes):
            write_json(path, {**content, "outcomes": kept})
            count += len(outcomes) - len(kept)
    return count


def remove_stale_files(
    workspace: Workspace,
    stage: str,
    batches: Iterable[Batch],
    planned: Iterable[Path],
    pattern: str = "*.jsonl",
) -> None:
    """Remove markers and other files of batches that are no longer planned.

    Args:
        workspace: the project's folders.
        stage: name of the stage.
        batches: the planned batches.
        planned: other files of these batches, which stay.
        pattern: which other files of the stage's work folder to remove; folders too.
    """
    folder = workspace.work(stage)
    kept = {*planned, *(marker_path(workspace, stage, batch.name) for batch in batches)}
    for path in {*folder.glob(f"*{SUFFIX}"), *folder.glob(pattern)} - kept:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def failures_of(kind: str) -> tuple[Reason, ...]:
    """The reasons of failures of a kind (`transient`), or of one code (`timed_out`).

    Args:
        kind: one of `FAILURE_KINDS`, a code, or empty for all.

    Raises:
        UsageError: there is no such kind, or it is one of what was dropped for good.
    """
    failures = [reason for reason in Reason if reason.state is State.FAILED]
    found = tuple(reason for reason in failures if kind in ("", reason.kind, str(reason)))
    if found:
        return found
    if kind in set(Reason):
        raise UsageError(f"{kind} drops an item for good; trying again gives the same answer.")
    raise UsageError(
        f"there is no class {kind!r} of failures; there are {', '.join(FAILURE_KINDS)}, and the"
        f" codes {', '.join(failures)}."
    )


def retry(stage: str, workspace: Workspace, kind: str = "") -> int:
    """Let the next run of a stage try failed items again; returns how many.

    What was done or dropped is not touched.

    Args:
        stage: its name.
        workspace: the project's folders.
        kind: see `failures_of`.

    Raises:
        UsageError: see `failures_of`.
        CheckError: a stage is at work, which relies on its markers.
    """
    reasons = failures_of(kind)
    with own_turn(workspace, stage):
        Ledger(workspace.ledger).reset_failed_sources(stage, reasons)
        return clear_failures(stage, workspace, reasons)


def _content(path: Path) -> dict[str, Any] | None:
    try:
        content = read_json(path)
    except CheckError:  # missing, or cut by a full disk: the batch is not finished
        return None
    wanted = {"settings", "outcomes", "facts"}
    return content if isinstance(content, dict) and wanted <= content.keys() else None


def _outcomes(content: dict[str, Any]) -> list[Outcome]:
    return [
        Outcome(
            item=item,
            state=State(state),
            reason=Reason(reason) if reason else None,
            message=message,
            attempts=0,
        )
        for item, state, reason, message in content["outcomes"]
    ]
