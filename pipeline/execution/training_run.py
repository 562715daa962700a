"""A training in its work folder: what the stages `pretrain` and `train` share.

The run lives in the stage's work folder until it is published, since DVC removes a stage's outputs
before it runs. A killed run goes on from its last checkpoint.
"""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from avsep.errors import CheckError, Reason, State
from avsep.file_lock import wait_for_lock
from avsep.files import (
    link_or_copy,
    read_json,
    remove_temporary_files,
    replaced_directory,
    sha256_file,
    write_json,
)
from avsep.outcome import Counts, Outcome
from avsep.progress import Progress, no_progress
from avsep.settings import as_values
from avsep.training.config import ENDED, WORK_ONLY, RunSettings
from avsep.workspace import Workspace
from pipeline.execution.launch import DISK_CODES, ChildError, launch
from pipeline.execution.markers import marker_path, read_marker, write_marker
from pipeline.execution.run_identity import RunIdentity
from pipeline.execution.stage import Batch, StageReport

CHILD = "pipeline.train"  # the module that the child process runs
SETTINGS = "settings.json"  # what the run was begun with, and its present settings
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
        CheckError: another process trains the same, or the run was begun with other settings.
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
        with locked(lock_of(directory), batch.name) as lock:
            prepare_directory(directory, f"{stage} {batch.name}", identity_of(batch), config)
            launch(
                CHILD,
                [stage, "--root", str(workspace.root), "--config", str(directory / SETTINGS)],
                devices=config.devices,
                on_step=None if progress is no_progress else on_step,
                keep_open=[lock],
            )
    except ChildError as error:
        reason = Reason.WORKER_DIED if error.code < 0 else Reason.INTERNAL
        reason = next((of for of, code in DISK_CODES.items() if code == error.code), reason)
        outcome = Outcome.ended(batch.items[0], reason, error.message)
    except SystemExit:
        print(f"avsep: {stage} was ended; run it again to go on.", file=sys.stderr)
        raise
    outcome = replace(outcome, seconds=time.monotonic() - started)
    if outcome.state is State.DONE:
        mark_the_end(workspace, stage, batch, outcome)
        progress(1 - shown)
    return [outcome]


def training_batch(name: str, identity: RunIdentity) -> Batch:
    """The only batch of a stage that trains."""
    return Batch(name=name, items=(name,), settings=identity.settings, rows=(identity,))


def identity_of(batch: Batch) -> RunIdentity:
    """What decides the weights of a batch of `training_batch`."""
    (identity,) = batch.rows
    return identity


def mark_the_end(workspace: Workspace, stage: str, batch: Batch, outcome: Outcome) -> None:
    """Mark a finished training; one that ran out of time goes on with the next run."""
    directory = workspace.work(stage) / batch.name
    if read_json(directory / ENDED)["by"] != "max_minutes":
        write_marker(workspace, stage, batch, [outcome])


def restart(workspace: Workspace, stage: str, batch: Batch) -> Path | None:
    """Move the run of a batch aside, so that it starts again; returns where it is now.

    Raises:
        CheckError: it is being trained.
    """
    directory = workspace.work(stage) / batch.name
    with locked(lock_of(directory), batch.name):
        marker_path(workspace, stage, batch.name).unlink(missing_ok=True)
        return _move_aside(directory)


def lock_of(directory: Path) -> Path:
    """The lock that says that a run is being trained."""
    return directory.with_name(f"{directory.name}.lock")


def _move_aside(directory: Path) -> Path | None:
    if not directory.exists():
        return None
    numbers = range(1, 1_000_000)
    free = (directory.with_name(f"{directory.name}.old-{number}") for number in numbers)
    place = next(path for path in free if not path.exists())
    directory.replace(place)
    return place


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
        refusal = f"{name} is being trained by another process here; wait until it has ended."
        wait_for_lock(handle.fileno(), time.monotonic() + LOCK_TIMEOUT_S, lambda: refusal)
        yield handle.fileno()


def prepare_directory(
    directory: Path, what: str, identity: RunIdentity, config: RunSettings
) -> None:
    """Make the work folder of a run, or check that the run in it may go on.

    Args:
        directory: the folder.
        what: the run, for people.
        identity: what decides the weights now.
        config: config of the stage, which is written for the processes that train.

    Raises:
        CheckError: the run was begun with something else, and has a checkpoint.
    """
    remove_temporary_files(directory)  # of a run that was killed, before its first checkpoint too
    if any(directory.glob("*.ckpt")):
        try:
            kept = read_json(directory / SETTINGS)
            kept = {"decides": dict(kept["decides"]), "steps": int(kept["steps"])}
        except (CheckError, KeyError, TypeError, ValueError):  # missing, damaged, or older
            place = _move_aside(directory)
            print(f"{what} starts again: the old run did not say its settings; see {place}.")
        else:
            identity.check(kept, what)
    directory.mkdir(parents=True, exist_ok=True)
    write_json(directory / SETTINGS, {**identity.as_json(), "config": as_values(config)})


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
    with replaced_directory(target) as folder:
        for path in sorted(source.rglob("*")):
            inside = path.relative_to(source)
            own = inside.parts[0] in (SETTINGS, *WORK_ONLY) or path.name.startswith(".")
            if path.is_file() and not own:
                link_or_copy(path, folder / inside)


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


def digests(workspace: Workspace, paths: Sequence[Path]) -> dict[str, str]:
    """The sha256 of input files by their path in the project; of a model, that of its weights.

    Raises:
        CheckError: a card is damaged.
    """
    found = {}
    for path in paths:
        digest = sha256_file(path)
        if path.name == "card.json":  # it also says by which commit the model was written
            digest = read_json(path).get("sha256", digest)
        found[path.relative_to(workspace.root).as_posix()] = digest
    return found


def init_digest(workspace: Workspace, init: str, model: str) -> dict[str, str]:
    """The sha256 of the weights that a training starts from, by the setting; empty for random ones.

    Raises:
        CheckError: there are no such weights, or their card is damaged.
    """
    if not init:
        return {}
    from avsep.models.checkpoint import read_card
    from avsep.weights.initial import find_initial

    return {"the model of init": read_card(find_initial(init, model, workspace.root))["sha256"]}
