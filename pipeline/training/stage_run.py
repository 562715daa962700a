"""What the stages `pretrain` and `train` share: a run in a work folder, started as a child."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from pipeline.config import as_values, build, load_stage
from pipeline.errors import CheckError, Reason, UsageError
from pipeline.ledger import Outcome
from pipeline.markers import read_marker, write_marker
from pipeline.runner import Batch
from pipeline.storage import Workspace, fresh_directory, link_or_copy, read_json, write_json
from pipeline.training.launch import ChildError, exit_code, follow_parent, launch

SETTINGS = "settings.json"  # of the run, in its work folder
TENSORBOARD = "tensorboard"  # folder of its event files there
C = TypeVar("C")


def train_in_child(
    workspace: Workspace, stage: str, batch: Batch, values: Mapping[str, Any], *, devices: int
) -> Outcome:
    """Train the batch's only item in a child process, or go on where an earlier one stopped.

    Args:
        workspace: the project's folders.
        stage: `pretrain` or `train`; its module has the `main` of the child.
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
            f"pipeline.stages.{stage}",
            ["--root", str(workspace.root), "--config", str(directory / SETTINGS)],
            devices=devices,
        )
    except ChildError as error:
        reason = Reason.WORKER_DIED if error.code < 0 else Reason.INTERNAL
        outcome = Outcome.ended(batch.items[0], reason, error.message)
    outcome = replace(outcome, seconds=time.monotonic() - started)
    write_marker(workspace, stage, batch, [outcome])
    return outcome


def run_child(
    config_type: type[C],
    stage: str,
    plan: Callable[[C, Workspace], list[Batch]],
    train_here: Callable[[C, Workspace, Path], None],
    arguments: Sequence[str] | None,
    *,
    models: Sequence[str] = (),
) -> int:
    """The `main` of a stage that trains: `python -m pipeline.stages.<stage> --root .`.

    Started by the stage it is given the settings that the stage wrote; by hand it reads
    `params.yaml` and prepares the work folder itself.

    Args:
        config_type: the stage's config class.
        stage: `pretrain` or `train`.
        plan: of the stage.
        train_here: trains in this process, in the given folder.
        arguments: of the command line; None for `sys.argv`.
        models: values of `--model`, for a stage that has several.

    Returns:
        The exit code.
    """
    parser = argparse.ArgumentParser(prog=f"python -m pipeline.stages.{stage}")
    parser.add_argument("--root", type=Path, default=Path(), help="the folder with params.yaml")
    if models:
        parser.add_argument("--model", choices=models, help="which one, by params.yaml")
    parser.add_argument("--config", type=Path, help="settings that the stage wrote, instead")
    parser.add_argument("--parent", type=int, default=0, help="process to end with")
    given = parser.parse_args(arguments)
    follow_parent(given.parent)

    def run() -> None:
        workspace = Workspace(given.root.resolve())
        if given.config:
            config = build(config_type, read_json(given.config)["config"], stage)
            train_here(config, workspace, given.config.parent)
            return
        config = load_stage(workspace.root / "params.yaml", stage)
        if models:
            if not given.model:
                raise UsageError("name a model with --model.")
            config = replace(config, model=given.model)
        (batch,) = plan(config, workspace)
        directory = workspace.work(stage) / batch.name
        prepare_directory(directory, batch.settings, as_values(config))
        train_here(config, workspace, directory)

    return exit_code(run)


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
