"""One row per step: what was learned, how fast, and how long the data kept it waiting."""

from __future__ import annotations

import csv
import time
from pathlib import Path
from typing import Any, TextIO

import lightning.pytorch as pl

from avsep.files import write_text
from avsep.training.callback import TaskCallback
from avsep.training.config import STEP_LOG
from avsep.training.loggers import log_values
from avsep.training.task import FitTask

COLUMNS = ("step", "loss", "gradient_norm", "lr", "data_wait_share", "items_per_s")


class StepLog(TaskCallback):
    """Writes `steps.csv` and the same to the loggers.

    The columns are the number of the step, its mean loss over all ranks, the norm of the gradient
    before clipping, the learning rate, the share of the step's time that the first rank waited for
    its items, the items of all ranks per second, and what the task adds. A row is written at once;
    rows of steps that are done again are taken out.
    """

    def __init__(self, directory: Path, items: int) -> None:
        """Prepare a log of steps of `items` items on all ranks together."""
        self._path = directory / STEP_LOG
        self._items = items
        self._file: TextIO | None = None
        self._ended = self._begun = time.monotonic()

    def begun(self, trainer: pl.Trainer, task: FitTask) -> None:
        """Open the file behind the last step that stands."""
        if not trainer.is_global_zero:
            return
        if self._path.exists():
            head, *rows = self._path.read_text("utf-8").splitlines(keepends=True) or [""]
            kept = [row for row in rows if _step(row) <= task.steps_done]
            write_text(self._path, "".join([head, *kept]))
        self._file = self._path.open("a", encoding="utf-8", buffering=1)

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Do not count the validation as waiting."""
        self._ended = time.monotonic()

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """The items are there."""
        self._begun = time.monotonic()

    def after_step(self, trainer: pl.Trainer, task: FitTask) -> None:
        """Write the row of the step."""
        before, self._ended = self._ended, time.monotonic()
        if self._file is None:
            return
        seconds = max(1e-9, self._ended - before)
        values = (
            task.last_loss,
            task.last_norm,
            task.last_lr,
            (self._begun - before) / seconds,
            self._items / seconds,
        )
        row = dict(zip(COLUMNS[1:], values, strict=True)) | task.step_facts()
        writer = csv.writer(self._file, lineterminator="\n")
        if not self._file.tell():
            writer.writerow(["step", *row])
        writer.writerow([task.steps_done, *(f"{value:.12g}" for value in row.values())])
        log_values(trainer, row, task.steps_done)

    def after_validation(self, trainer: pl.Trainer, task: FitTask) -> None:
        """Give the scores to the loggers; `RunFiles` writes them."""
        if task.history:
            row = task.history[-1]
            log_values(trainer, {k: v for k, v in row.items() if k != "step"}, task.steps_done)

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
            self._file = None


def _step(row: str) -> float:
    """The step of a row; a row that a power cut has damaged is of no step that stands."""
    number = row.partition(",")[0]
    return int(number) if number.isdecimal() and row.endswith("\n") else float("inf")
