"""What the callbacks of a training share: they get the task, and no unused arguments."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl

from avsep.training.task import FitTask


class TaskCallback(pl.Callback):
    """Subclasses override the three methods below, and Lightning's others where they need them."""

    def begun(self, trainer: pl.Trainer, task: FitTask) -> None:
        """The first step follows."""

    def after_step(self, trainer: pl.Trainer, task: FitTask) -> None:
        """A step is done."""

    def after_validation(self, trainer: pl.Trainer, task: FitTask) -> None:
        """A validation is done, and is in the history of the task."""

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Lightning's name of `begun`."""
        self.begun(trainer, _task(pl_module))

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Lightning's name of `after_step`."""
        self.after_step(trainer, _task(pl_module))

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Lightning's name of `after_validation`."""
        self.after_validation(trainer, _task(pl_module))


def _task(module: pl.LightningModule) -> FitTask:
    assert isinstance(module, FitTask)
    return module
