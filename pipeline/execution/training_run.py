"""A training in its work folder: what the stages `pretrain` and `train` share.

The run lives in the stage's work folder until it is published, since DVC removes a stage's outputs
before it runs. A killed run goes on from its last checkpoint.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from avsep.errors import CheckError, Reason
from avsep.files import fresh_directory, link_or_copy, read_json, write_json
from avsep.outcome import Counts, Outcome
from avsep.progress import Progress
from avsep.settings import as_values
from avsep.training.config import TENSORBOARD, RunSettings
from avsep.workspace import Workspace
from pipeline.execution.launch import ChildError, launch
from pipeline.execution.markers import read_marker, write_marker
from pipeline.execution.stage import Batch, StageReport

CHILD = "pipeline.train"  # the module that the child process runs
SETTINGS = "settings.json"  # settings of the run, in its work folder


def train_in_child(
    workspace: Workspace, stage: str, batch: Batch, config: RunSettings, progress: Progress
) -> list[Outcome]:
    """Train the batch's only item in a child process, or go on where an earlier one stopped.

    Args:
        workspace: folders of the project.
        stage: `pretrain` or `train`.
        batch: a batch of one item.
        config: config of the stage, for the child.
        progress: told when the training has ended.
    """
    if marked := read_marker(workspace, stage, batch):
        progress(1)
        return marked[0]
    directory = workspace.work(stage) / batch.name
    prepare_directory(directory, batch.settings, as_values(config))
    started = time.monotonic()
    outcome = Outcome.done(batch.items[0])
    try:
        launch(
            CHILD,
            [stage, "--root", str(workspace.root), "--config", str(directory / SETTINGS)],
            devices=config.devices,
        )
    except ChildError as error:
        reason = Reason.WORKER_DIED if error.code < 0 else Reason.INTERNAL
        outcome = Outcome.ended(batch.items[0], reason, error.message)
    outcome = replace(outcome, seconds=time.monotonic() - started)
    write_marker(workspace, stage, batch, [outcome])
    progress(1)
    return [outcome]


def prepare_directory(directory: Path, settings: str, values: Mapping[str, Any]) -> None:
    """Keep a work folder that belongs to the same settings and inputs; otherwise empty it."""
    try:
        if read_json(directory / SETTINGS)["settings"] == settings:
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
    """Link the files of a run into `target`, without those that only the work folder needs.

    TensorBoard's files stay in the work folder: their names contain the machine and the time, and
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
        CheckError: a file is missing; the message says which stage makes it.
    """
    for path, stage in inputs.items():
        if not path.exists():
            raise CheckError(f"{path} is missing; run `avsep run {stage}` first.")
    return list(inputs)
