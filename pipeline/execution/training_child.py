"""What the stages `pretrain` and `train` share: a run in a work folder, started as a child."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from avsep.errors import CheckError, Reason
from avsep.files import fresh_directory, link_or_copy, read_json, write_json
from avsep.outcome import Outcome
from avsep.training.config import TENSORBOARD
from avsep.workspace import Workspace
from pipeline.execution.launch import ChildError, launch
from pipeline.execution.markers import read_marker, write_marker
from pipeline.execution.stage import Batch

CHILD = "pipeline.train"  # the module that the child process runs
SETTINGS = "settings.json"  # of the run, in its work folder


def train_in_child(
    workspace: Workspace, stage: str, batch: Batch, values: Mapping[str, Any], *, devices: int
) -> Outcome:
    """Train the batch's only item in a child process, or go on where an earlier one stopped.

    Args:
        workspace: the project's folders.
        stage: `pretrain` or `train`.
        batch: of one item.
        values: the stage's config as plain values, for the child.
        devices: processes to start.
    """
    done = read_marker(workspace, stage, batch)
    if done is not None:
        return done[0][0]
    directory = workspace.work(stage) / batch.name
    prepare_directory(directory, batch.settings, values)
    started = time.monotonic()
    outcome = Outcome.done(batch.items[0])
    try:
        launch(
            CHILD,
            [stage, "--root", str(workspace.root), "--config", str(directory / SETTINGS)],
            devices=devices,
        )
    except ChildError as error:
        reason = Reason.WORKER_DIED if error.code < 0 else Reason.INTERNAL
        outcome = Outcome.ended(batch.items[0], reason, error.message)
    outcome = replace(outcome, seconds=time.monotonic() - started)
    write_marker(workspace, stage, batch, [outcome])
    return outcome


def prepare_directory(directory: Path, settings: str, values: Mapping[str, Any]) -> None:
    """Keep a work folder that belongs to the same settings and inputs; else empty it."""
    if not _belongs(directory, settings):
        fresh_directory(directory)
        write_json(directory / SETTINGS, {"settings": settings, "config": values})


def publish(source: Path, target: Path) -> None:
    """Make `target` hold what a finished run has to show, without the work folder's own files.

    TensorBoard's files stay in the work folder: their names hold the machine's and the time, and
    what they show is in `log.csv` too.
    """
    fresh_directory(target)
    for path in sorted(source.rglob("*")):
        inside = path.relative_to(source)
        own = path.name == SETTINGS or path.name.startswith(".") or inside.parts[0] == TENSORBOARD
        if path.is_file() and not own:
            link_or_copy(path, target / inside)


def require(inputs: Mapping[Path, str]) -> list[Path]:
    """The input files, which must exist.

    Args:
        inputs: each file with the command that makes it.

    Raises:
        CheckError: one is missing; says which stage makes it.
    """
    for path, stage in inputs.items():
        if not path.exists():
            raise CheckError(f"{path} is missing; run `avsep run {stage}` first.")
    return list(inputs)


def _belongs(directory: Path, settings: str) -> bool:
    try:
        return read_json(directory / SETTINGS)["settings"] == settings
    except (CheckError, KeyError, TypeError):
        return False
