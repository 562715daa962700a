"""The two checkpoints of a run, in Lightning's format: the last step and the best validation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.fabric.plugins import TorchCheckpointIO
from lightning.fabric.utilities.types import _PATH
from lightning.pytorch.callbacks import Checkpoint

from avsep.errors import CheckError
from avsep.files import atomic_path
from avsep.training.task import FitTask, best_row

LAST, BEST = "last.ckpt", "best.ckpt"


class Checkpoints(Checkpoint):
    """Writes the two checkpoints after each validation.

    Lightning's own `ModelCheckpoint` writes the last one only along with a better one, so that a
    killed run would lose all steps since its best, and keeps absolute paths in each file.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write them, on all ranks together. Not on validation end, in the middle of an epoch."""
        assert isinstance(pl_module, FitTask)
        history = pl_module.history
        if not history or history[-1]["step"] != pl_module.steps_done:
            return
        if best_row(history, pl_module.monitor) is history[-1]:
            trainer.save_checkpoint(self._directory / BEST)
        trainer.save_checkpoint(self._directory / LAST)


class CheckpointFiles(TorchCheckpointIO):
    """Writes checkpoints beside their place: Lightning's way is not atomic across file systems."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: _PATH, storage_options: Any = None
    ) -> None:
        """Write a checkpoint, whole or not at all."""
        with atomic_path(Path(path)) as temporary, temporary.open("wb") as handle:
            torch.save(checkpoint, handle)


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint of this project; no code from it is run.

    Raises:
        CheckError: the file is missing, damaged, or of another program.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise CheckError(f"{path} is missing.") from error
    except Exception as error:  # torch raises many kinds for a damaged file
        raise CheckError(f"{path} is not a readable checkpoint: {error}") from error
    if not isinstance(content, dict) or "avsep" not in content:
        raise CheckError(f"{path} is not a checkpoint of this project.")
    return content


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
