"""A training in its work folder: what the stages `pretrain` and `train` share.

The run lives in the stage's work folder until it is published, since DVC removes a stage's outputs
before it runs. A killed run goes on from its last checkpoint.
"""

from __future__ import annotations

import contextlib
import fcntl
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from avsep.errors import CheckError, Reason, State
from avsep.files import (
    fresh_directory,
    link_or_copy,
    read_json,
    remove_temporary_files,
    write_json,
)
from avsep.outcome import Counts, Outcome
from avsep.progress import Progress, no_progress
from avsep.settings import as_values
from avsep.training.config import WORK_ONLY, RunSettings
from avsep.workspace import Workspace
from pipeline.execution.launch import ChildError, launch
from pipeline.execution.markers import read_marker, write_marker
from pipeline.execution.stage import Batch, StageReport

CHILD = "pipeline.train"  # the module that the child process runs
SETTINGS = "settings.json"  # settings of the run, in its work folder
LOCK_TIMEOUT_S = 15.0


def train_in_child(
    workspace: Workspace, stage: str, batch: Batch, config: RunSettings, progress: Progress
) -> list[Outcome]:
    """Train the batch's only item in a child process, or go on where an earlier one stopped.

    Args:
        workspace: folders of the project.
        stage: `pretrain` or `train`.
        batch: a batch of one item.
        config: config of the stage, for the child.
        progress: called with the share of the training that has just been done.

    Raises:
        CheckError: another process trains the same.
    """
    if marked := read_marker(workspace, stage, batch):
        progress(1)
        return marked[0]
    directory = workspace.work(stage) / batch.name
    started = time.monotonic()
    outcome = Outcome.done(batch.items[0])
    shown = 0.0

    def on_step(done: int, total: int) -> None:
        nonlocal shown
        progress(done / total - shown)
        shown = done / total

    try:
        with locked(directory.with_suffix(".lock"), batch.name) as lock:
            prepare_directory(directory, batch.settings, as_values(config))
            launch(
                CHILD,
                [stage, "--root", str(workspace.root), "--config", str(directory / SETTINGS)],
                devices=config.devices,
                on_step=None if progress is no_progress else on_step,
                keep_open=[lock],
            )
    except ChildError as error:
        reason = Reason.WORKER_DIED if error.code < 0 else Reason.INTERNAL
        outcome = Outcome.ended(batch.items[0], reason, error.message)
    except SystemExit:
        print(f"avsep: {stage} was ended; run it again to go on.", file=sys.stderr)
        raise
    outcome = replace(outcome, seconds=time.monotonic() - started)
    if outcome.state is State.DONE:  # else the next run goes on from the last checkpoint
        write_marker(workspace, stage, batch, [outcome])
        progress(1 - shown)
    return [outcome]


@contextlib.contextmanager
def locked(path: Path, name: str) -> Iterator[int]:
    """Let one training at a time use a work folder; yields the descriptor of the lock.

    Processes that inherit the descriptor hold the lock as well. Those of a training that was
    killed end within a second, which is waited for.

    Raises:
        CheckError: another training goes on.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as handle:
        deadline = time.monotonic() + LOCK_TIMEOUT_S
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as error:
                if time.monotonic() > deadline:
                    raise CheckError(
                        f"{name} is being trained by another process here; wait until it has ended."
                    ) from error
                time.sleep(0.1)
        yield handle.fileno()


def prepare_directory(directory: Path, settings: str, values: Mapping[str, Any]) -> None:
    """Keep a work folder that belongs to the same settings and inputs; otherwise empty it."""
    try:
        if read_json(directory / SETTINGS)["settings"] == settings:
            remove_temporary_files(directory)
            return
    except (CheckError, KeyError, TypeError):  # missing or damaged
        pass
    fresh_directory(directory)
    write_json(directory / SETTINGS, {"settings": settings, "config": values})


def finish_run(
    workspace: Workspace, stage: str, name: str, target: Path, outcomes: Sequence[Outcome]
) -> StageReport:
    """Publish a finished run into `target`: checkpoints, model with its card, logs, metrics."""
    counts = Counts.of(outcomes)
    facts: dict[str, str | int | float] = {}
    if counts.done:
        _publish(workspace.work(stage) / name, target)
        facts = read_json(target / "metrics.json")
    return StageReport(stage=stage, counts=counts, facts=facts)


def _publish(source: Path, target: Path) -> None:
    """Link the files of a run into `target`, without those that only the work folder needs."""
    fresh_directory(target)
    for path in sorted(source.rglob("*")):
        inside = path.relative_to(source)
        own = inside.parts[0] in (SETTINGS, *WORK_ONLY) or path.name.startswith(".")
        if path.is_file() and not own:
            link_or_copy(path, target / inside)


def require(inputs: Mapping[Path, str]) -> list[Path]:
    """The input files, which must exist.

    Args:
        inputs: each file with the command that makes it.

    Raises:
        CheckError: a file is missing; the message says which stage makes it.
    """
    for path, stage in inputs.items():
        if not path.exists():
            raise CheckError(f"{path} is missing; run `avsep run {stage}` first.")
    return list(inputs)
