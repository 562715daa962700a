"""How long the steps of a run take on this machine, for `avsep plan`."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path

import lightning.pytorch as pl

from avsep.files import write_json
from avsep.training.callback import TaskCallback
from avsep.training.config import STEP_TIMES
from avsep.training.task import FitTask

WRITE_EVERY_S = 60.0


class StepTimes(TaskCallback):
    """Writes the mean time of a step, validations included, every minute and at the end.

    The file stays in the work folder: what a run publishes contains no times.
    """

    def __init__(self, directory: Path, items: int) -> None:
        """Time steps in which each rank has so many items."""
        self._directory, self._items = directory, items
        self._first_step: int | None = None  # until the training begins
        self._started = self._written = time.monotonic()

    def begun(self, trainer: pl.Trainer, task: FitTask) -> None:
        """Start the clock."""
        self._first_step = task.steps_done
        self._started = self._written = time.monotonic()

    def after_step(self, trainer: pl.Trainer, task: FitTask) -> None:
        """Write the time now and then."""
        if time.monotonic() - self._written >= WRITE_EVERY_S:
            self._write(trainer, task)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write the time of the whole run."""
        self._write(trainer, pl_module)

    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        """Write the time of a run that `max_minutes` or a person ends."""
        with contextlib.suppress(OSError):  # a full disk must not hide what has happened
            self._write(trainer, pl_module)

    def _write(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert isinstance(pl_module, FitTask)
        if self._first_step is None:
            return
        self._written = time.monotonic()
        steps = pl_module.steps_done - self._first_step
        if not trainer.is_global_zero or steps < 1:
            return
        times = {
            "steps": steps,
            "seconds_per_step": (self._written - self._started) / steps,
            "device": pl_module.device.type,
            "devices": trainer.world_size,
            "item_seconds": self._items * pl_module.settings.seconds,
        }
        write_json(self._directory / STEP_TIMES, times)
