"""The checkpoints of a run: the last step, the one before it, and the best validation.

A checkpoint is a torch file of tensors, numbers and texts; nothing in it can run code. Equal runs
write equal bytes: no path, no time of day. It needs no state of random generators, since each step
seeds them by its number (`step_seed`), and no state of the loader, since items are functions of
their number.
"""

from __future__ import annotations

import io
import os
import sys
import time
import zipfile
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch

from avsep.errors import CheckError
from avsep.files import atomic_path
from avsep.torch_file import check_not_compressed
from avsep.training.callback import TaskCallback
from avsep.training.config import DAMAGED, PREVIOUS
from avsep.training.precision import Precision, ResolvedName
from avsep.training.task import FitTask, best_row

LAST, BEST = "last.ckpt", "best.ckpt"


class TimeIsUpError(Exception):
    """The time of this start of the training is used up; its last checkpoint is written."""


class Checkpoints(TaskCallback):
    """Restores the checkpoint that a run goes on from, and writes the next ones.

    Only the first rank touches the folder; the others, perhaps on other machines, get its content.
    """

    def __init__(self, directory: Path, resumed: bytes | None) -> None:
        """Prepare a run.

        Args:
            directory: folder of the run.
            resumed: content of the checkpoint to go on from, on the first rank; None to begin.
        """
        self._directory, self._resumed = directory, resumed
        self._started = self._written = time.monotonic()

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Take the first rank's number format, and restore the position and the weights.

        All before the ranks compare their models.
        """
        assert isinstance(pl_module, FitTask)
        content = self._resumed
        if trainer.world_size > 1:
            device = trainer.strategy.root_device
            name = trainer.strategy.broadcast(pl_module.precision.name)
            pl_module.precision = Precision(name, device.type)
            content = _of_first_rank(content, device)
        self._resumed = None
        if content is not None:
            pl_module.restore(_parse(content))
        if pl_module.ended:
            trainer.should_stop = True

    def begun(self, trainer: pl.Trainer, task: FitTask) -> None:
        """Keep what the run begins with: its weights and its number format."""
        self._started = self._written = time.monotonic()
        if task.steps_done == 0:
            self._write(task, LAST)

    def after_step(self, trainer: pl.Trainer, task: FitTask) -> None:
        """Write one now and then."""
        settings = task.settings
        if task.steps_done % settings.val_every == 0:
            return  # the validation comes first
        age = time.monotonic() - self._written
        if settings.checkpoint_minutes and age >= 60 * settings.checkpoint_minutes:
            self._write(task, LAST)
        self._watch_the_time(trainer, task)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write the last one after each validation, and the best one."""
        assert isinstance(pl_module, FitTask)
        history = pl_module.history
        if best_row(history, pl_module.monitor) is history[-1]:
            self._write(pl_module, BEST)
        self._write(pl_module, LAST)
        if pl_module.ended:
            trainer.should_stop = True
        else:
            self._watch_the_time(trainer, pl_module)

    def _watch_the_time(self, trainer: pl.Trainer, task: FitTask) -> None:
        """Stop all ranks after the same step."""
        minutes = task.settings.max_minutes
        if not minutes:
            return
        over = time.monotonic() - self._started >= 60 * minutes
        if trainer.strategy.reduce_boolean_decision(over, all=False):
            self._write(task, LAST)
            raise TimeIsUpError

    def _write(self, task: FitTask, name: str) -> None:
        self._written = time.monotonic()
        if task.global_rank == 0:
            write_checkpoint(self._directory / name, task.state())


def write_checkpoint(path: Path, content: dict[str, Any]) -> None:
    """Write a checkpoint, whole or not at all; the last one before it is kept."""
    with atomic_path(path) as temporary:
        with temporary.open("wb") as handle:
            torch.save(_canonical(content), handle)
            handle.flush()
            os.fsync(handle.fileno())
        if path.name == LAST and path.exists():
            path.replace(path.with_name(PREVIOUS))
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def newest_checkpoint(directory: Path) -> bytes | None:
    """The checkpoint that a run in a folder goes on from; None if there is none.

    A damaged one is put aside, and the one before it is taken.

    Raises:
        CheckError: both are damaged.
    """
    last, previous = directory / LAST, directory / PREVIOUS
    if not last.exists() and not previous.exists():
        return None
    try:
        return _checked(last)
    except CheckError as error:
        problem = error
    try:
        content = _checked(previous)
    except CheckError as error:
        raise CheckError(
            f"{problem} {error} Start again with --restart, which keeps the old run."
        ) from error
    if last.exists():
        last.replace(directory / DAMAGED)
    steps = _parse(content)["avsep"]["steps_done"]
    print(f"{problem} The run goes on from step {steps} of {PREVIOUS}.", flush=True)
    return content


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint of this project; no code from it is run.

    Raises:
        CheckError: the file is missing, damaged, or of another program.
    """
    return _parse(_checked(path))


def checkpoint_precision(content: bytes) -> ResolvedName:
    """The number format of the training that wrote a checkpoint."""
    return _parse(content)["avsep"]["precision"]["name"]


def load_best_average(task: FitTask, directory: Path) -> None:
    """Give `task.average` the averaged weights of the best validation.

    Raises:
        CheckError: see `read_checkpoint`; or the weights do not fit the model.
    """
    path = directory / BEST
    state = read_checkpoint(path)["state_dict"]
    prefix = "average."
    averaged = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
    try:
        task.average.load_state_dict(averaged)
    except RuntimeError as error:
        raise CheckError(f"{path} does not fit this model: {error}") from error


def _checked(path: Path) -> bytes:
    """The content of a checkpoint file.

    Raises:
        CheckError: the file is missing, damaged, or of another program.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise CheckError(f"{path} is missing.") from error
    except OSError as error:
        raise CheckError(f"{path} cannot be read: {error.strerror}.") from error
    try:
        check_not_compressed(io.BytesIO(content))
        # PyTorch does not look at the checksums of its files.
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            damaged = archive.testzip()
        if damaged:
            raise CheckError(f"{path} is not a readable checkpoint: {damaged} has changed.")
        parsed = _parse(content)
    except CheckError:
        raise
    except Exception as error:  # torch raises many kinds for a damaged file
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise CheckError(f"{path} is not a readable checkpoint: {reason}") from error
    if not isinstance(parsed, dict) or "avsep" not in parsed:
        raise CheckError(f"{path} is not a checkpoint of this project.")
    return content


def _parse(content: bytes) -> dict[str, Any]:
    return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)


def _canonical(value: Any) -> Any:
    """The same value with one object per text: what is pickled depends on which are the same."""
    if isinstance(value, dict):
        return {_canonical(key): _canonical(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_canonical(item) for item in value)
    return sys.intern(value) if isinstance(value, str) else value


def _of_first_rank(content: bytes | None, device: torch.device) -> bytes | None:
    """The first rank's bytes, on every rank."""
    size = torch.tensor([-1 if content is None else len(content)], device=device)
    torch.distributed.broadcast(size, 0)
    if int(size) < 0:
        return None
    data = torch.empty(int(size), dtype=torch.uint8, device=device)
    if content is not None:
        data.copy_(torch.frombuffer(bytearray(content), dtype=torch.uint8))
    torch.distributed.broadcast(data, 0)
    return data.cpu().numpy().tobytes()
