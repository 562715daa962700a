"""What all trainings share: one step, the averaged weights, validation per item.

Optimisation is manual, for three reasons: a non-finite step must be skipped on all ranks together,
the random numbers of a step must not depend on what came before it (a resumed run equals an
unbroken one), and the gradient's norm is needed anyway.
"""

from __future__ import annotations

import math
import signal
import threading
from collections.abc import Mapping, Sequence
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from torch import Tensor, nn

from avsep.errors import CheckError
from avsep.training.config import FitSettings
from avsep.training.ema import WeightAverage
from avsep.training.precision import Precision
from avsep.training.schedule import Plateau, lr_factor

Batch = dict[str, Any]


class FitTask(pl.LightningModule):
    """A model in training. Subclasses implement `loss` and `score`.

    Attributes:
        model: what is trained.
        average: its averaged copy, which is validated and exported.
        precision: number format of the forward pass; `fit` chooses it.
        monitor: the score (higher is better) that picks the best checkpoint.
        steps_done: steps so far, skipped ones included; the position of the run.
        skipped: non-finite steps so far.
        history: one row per validation: step, learning rate, train loss, scores.
    """

    monitor = "val_si_sdri"

    def __init__(self, model: nn.Module, settings: FitSettings, *, seed: int) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.model = model
        self.settings = settings
        self.precision = Precision("fp32", "cpu")
        self.average = WeightAverage(model, settings.ema)
        self.steps_done = 0
        self.skipped = 0
        self.last_loss = float("nan")
        self.history: list[dict[str, float]] = []
        self._seed = seed
        self._plateau = Plateau(settings.plateau_patience)
        self._sums = np.zeros(2)  # of the losses since the last validation, and their number
        self._scores: dict[str, list[Tensor]] = {}

    # --- what subclasses implement

    def loss(self, batch: Batch) -> Tensor:
        """The training loss of a batch, a scalar."""
        raise NotImplementedError

    def score(self, model: nn.Module, batch: Batch) -> Mapping[str, Tensor]:
        """Scores of a validation batch, each (batch,)."""
        raise NotImplementedError

    # --- training

    def on_fit_start(self) -> None:
        """Let all ranks use the first rank's number format: each may have timed another."""
        name = self.trainer.strategy.broadcast(self.precision.name)
        if name != self.precision.name:
            self.precision = Precision(name, self.device.type)

    def on_train_start(self) -> None:
        """Let SIGTERM end this process at once; the last checkpoint stands.

        Lightning's handler goes on with the step, and waits for other ranks that may have gone.
        """
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, signal.SIG_DFL)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """The optimiser of the parameters that require a gradient."""
        parameters = [p for p in self.model.parameters() if p.requires_grad]
        settings = self.settings
        if settings.optimizer == "sgd":
            return torch.optim.SGD(
                parameters, settings.lr, momentum=0.8, weight_decay=settings.weight_decay
            )
        kind = torch.optim.AdamW if settings.optimizer == "adamw" else torch.optim.Adam
        return kind(parameters, settings.lr, weight_decay=settings.weight_decay, fused=True)

    def training_step(self, batch: Batch, _: int) -> None:
        """One step, or a skipped one when the loss or a gradient is not finite."""
        optimizer = self.optimizers()
        assert not isinstance(optimizer, list)
        for group in optimizer.param_groups:
            group["lr"] = self.learning_rate()
        # Dropout and code sampling draw from here; a new seed per step leaves no state to restore.
        torch.manual_seed(step_seed(self._seed, self.steps_done, self.global_rank))
        with self.precision.autocast():
            loss = self.loss(batch)
        optimizer.zero_grad(set_to_none=True)
        self.manual_backward(self.precision.scale(loss))
        self.precision.unscale(optimizer.optimizer)
        finite = self._all_finite(loss.detach(), self._clip())
        if finite:
            optimizer.step()
            self.average.update(self.model, self.steps_done)
            self._sums += (float(loss.detach()), 1)
        else:
            self._skip(loss)
        self.precision.after_step(finite=finite)
        self.last_loss = float(loss.detach())
        self.steps_done += 1

    def learning_rate(self) -> float:
        """The rate of the next step."""
        factor = lr_factor(self.settings, self.steps_done)
        if self.settings.schedule == "plateau":
            factor *= self._plateau.factor
        return self.settings.lr * factor

    def _clip(self) -> Tensor:
        limit = self.settings.clip or float("inf")
        parameters = [p for p in self.model.parameters() if p.grad is not None]
        return torch.nn.utils.clip_grad_norm_(parameters, limit, foreach=True)

    def _all_finite(self, loss: Tensor, norm: Tensor) -> bool:
        """Whether the step is finite on every rank; all ranks get the same answer."""
        bad = (~(torch.isfinite(loss) & torch.isfinite(norm))).float()
        if self.trainer.world_size > 1:
            bad = self.trainer.strategy.reduce(bad, reduce_op="sum")
        return float(bad) == 0

    def _skip(self, loss: Tensor) -> None:
        # The forward pass may have corrupted the batch norm statistics: restore the last good ones.
        self.average.restore_buffers(self.model)
        if self.precision.searches_scale and torch.isfinite(loss):
            return
        self.skipped += 1
        if self.skipped > self.settings.max_skipped:
            raise CheckError(
                f"{self.skipped} training steps gave a non-finite loss or gradient (the last was"
                f" step {self.steps_done + 1}); lower lr, or train in fp32."
            )

    # --- validation

    def on_validation_epoch_start(self) -> None:
        """Clear the scores of the last validation, and let all ranks validate one model.

        Batch norm and codebooks follow the items of their own rank. A checkpoint holds the first
        rank's, so a resumed run would otherwise validate another model than an unbroken one.
        """
        self._scores = {}
        if self.trainer.world_size > 1:
            for buffer in (*self.model.buffers(), *self.average.buffers()):
                torch.distributed.broadcast(buffer, src=0)

    def validation_step(self, batch: Batch, _: int) -> None:
        """Score a batch with the averaged weights."""
        with self.precision.autocast():
            scores = self.score(self.average.module, batch)
        rows = {"item": batch["item"], **scores}
        for name, values in rows.items():
            self._scores.setdefault(name, []).append(values.detach().double().cpu())

    def on_validation_epoch_end(self) -> None:
        """Average the scores over the whole list, each item once, and write the history."""
        table = {name: self._gather(torch.cat(values)) for name, values in self._scores.items()}
        _, first = np.unique(table.pop("item"), return_index=True)
        scores = {f"val_{name}": float(values[first].mean()) for name, values in table.items()}
        loss_sum, count = self._gather(torch.from_numpy(self._sums)[None]).sum(axis=0)
        row = {
            "step": self.steps_done,
            "lr": self.learning_rate(),
            "train_loss": float(loss_sum / max(1, count)),
            "skipped": self.skipped,
            **scores,
        }
        self._sums = np.zeros(2)
        self._plateau.update(row[self.monitor])
        self.history.append({name: float(value) for name, value in row.items()})
        self.log_dict({name: float(value) for name, value in row.items() if name != "step"})

    def _gather(self, values: Tensor) -> np.ndarray:
        if self.trainer.world_size > 1:
            values = self.all_gather(values.to(self.device)).cpu()  # type: ignore[union-attr]
            values = values.flatten(0, 1)
        return values.numpy()

    # --- checkpoints

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the position and everything else that Lightning does not save."""
        checkpoint["avsep"] = {
            "steps_done": self.steps_done,
            "skipped": self.skipped,
            "seed": self._seed,
            "num_ranks": self.trainer.world_size,
            "history": self.history,
            "plateau": self._plateau.state(),
            "precision": self.precision.state(),
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restore the position of a checkpoint.

        Raises:
            CheckError: the checkpoint belongs to another seed or number of ranks.
        """
        state = checkpoint["avsep"]
        if state["seed"] != self._seed or state["num_ranks"] != self.trainer.world_size:
            raise CheckError(
                f"the checkpoint was trained with seed {state['seed']} on {state['num_ranks']}"
                f" rank(s), this run has seed {self._seed} and {self.trainer.world_size};"
                " remove it to start again."
            )
        self.steps_done, self.skipped = state["steps_done"], state["skipped"]
        self.history = [dict(row) for row in state["history"]]
        self._plateau.load(state["plateau"])
        self.precision.load(state["precision"])


def best_row(history: Sequence[dict[str, float]], monitor: str) -> dict[str, float]:
    """The first of the rows with the highest score; NaN is the lowest."""
    return max(history, key=lambda row: row[monitor] if row[monitor] == row[monitor] else -math.inf)


def step_seed(seed: int, step: int, rank: int) -> int:
    """The seed of one step on one rank."""
    return int(np.random.SeedSequence([seed, step, rank]).generate_state(1, np.uint64)[0] >> 1)
