"""What all trainings share: one step, the averaged weights, validation per item.

Optimisation is manual, for three reasons: a non-finite step must be skipped on all ranks together,
the random numbers of a step must not depend on what came before it (a resumed run equals an
unbroken one), and the gradient's norm is needed anyway.
"""

from __future__ import annotations

import contextlib
import math
import signal
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from avsep.errors import CheckError
from avsep.training.config import FitSettings
from avsep.training.ema import WeightAverage
from avsep.training.precision import Precision
from avsep.training.schedule import Plateau, lr_factor

Batch = dict[str, Any]


@dataclass(frozen=True)
class Shown:
    """What a model makes of a batch, for people.

    Attributes:
        sounds: (batch, samples) each, in -1..1 at 16 kHz, by name.
        videos: (batch, frames, height, width) uint8 each, by name.
    """

    sounds: Mapping[str, Tensor] = field(default_factory=dict)
    videos: Mapping[str, Tensor] = field(default_factory=dict)


class FitTask(pl.LightningModule):
    """A model in training. Subclasses implement `loss` and `score`.

    Attributes:
        model: what is trained.
        average: its averaged copy, which is validated and exported.
        precision: number format of the forward pass; `fit` chooses it on the first rank.
        parts: equal parts that this rank computes its items of a step in; `fit` sets it.
        monitor: the score (higher is better) that picks the best checkpoint.
        steps_done: steps so far, skipped ones included; the position of the run.
        skipped: non-finite steps so far.
        history: one row per validation: step, learning rate, train loss, skipped steps, scores.
        last_loss: loss of the last step, the mean over all ranks.
        last_norm: norm of its gradient before clipping.
        last_lr: its learning rate.
    """

    monitor = "val_si_sdri"

    def __init__(self, model: nn.Module, settings: FitSettings, *, seed: int) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.model = model
        self.settings = settings
        self.precision = Precision("fp32", "cpu")
        self.parts = 1
        self.average = WeightAverage(model, settings.ema)
        self.steps_done = 0
        self.skipped = 0
        self.last_loss = self.last_norm = self.last_lr = float("nan")
        self.history: list[dict[str, float]] = []
        self.seed = seed
        self._plateau = Plateau(settings.plateau_patience)
        self._sums = [0.0, 0]  # of the losses since the last validation, and their number
        self._optimizer_state: dict[str, Any] | None = None  # of a checkpoint, until it is needed
        self._scores: dict[str, list[Tensor]] = {}

    # --- what subclasses implement

    def loss(self, batch: Batch) -> Tensor:
        """The training loss of a batch, a scalar."""
        raise NotImplementedError

    def score(self, model: nn.Module, batch: Batch) -> Mapping[str, Tensor]:
        """Scores of a validation batch, each (batch,)."""
        raise NotImplementedError

    def show(self, model: nn.Module, batch: Batch) -> Shown:
        """What to listen to and to look at, of a few validation items; nothing by default."""
        return Shown()

    def weights_changed(self, model: nn.Module) -> None:
        """Renew what a model derives from its weights; called after each step, and for the average.

        A fused optimiser changes weights without raising their version, so no layer can tell.
        """

    def step_facts(self) -> dict[str, float]:
        """Further figures of the last step, for the log; always the same ones."""
        return {}

    # --- training

    def on_fit_start(self) -> None:
        """Restore the optimiser, which exists from here on, and set the number format."""
        self.precision.set_up()
        if self._optimizer_state is not None:
            self._optimizer().load_state_dict(self._optimizer_state)
            self._optimizer_state = None
            _lay_out_as_weights(self._optimizer())

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
        optimizer = self._optimizer()
        self.last_lr = self.learning_rate()
        for group in optimizer.param_groups:
            group["lr"] = self.last_lr
        # Dropout and code sampling draw from here; a new seed per step leaves no state to restore.
        torch.manual_seed(step_seed(self.seed, self.steps_done, self.global_rank))
        optimizer.zero_grad(set_to_none=True)
        loss = torch.zeros((), device=self.device, dtype=torch.float64)
        parts = split_batch(batch, self.parts)
        for number, part in enumerate(parts, start=1):
            with self.precision.autocast():
                part_loss = self.loss(part) / len(parts)
            with self._gradients_stay_here(number < len(parts)):
                self.manual_backward(self.precision.scale(part_loss))
            loss += part_loss.detach()
        if self.trainer.world_size > 1:
            self._check_gradients()
        self.precision.unscale(optimizer)
        self.last_loss, self.last_norm, bad_ranks = self._over_ranks(loss, self._clip())
        if not bad_ranks:
            optimizer.step()
            self.weights_changed(self.model)
            self.average.update(self.model, self.steps_done)
            self._sums = [self._sums[0] + self.last_loss, self._sums[1] + 1]
        else:
            self._skip(batch, bad_ranks)
        self.precision.after_step(finite=not bad_ranks)
        self.steps_done += 1

    def _optimizer(self) -> torch.optim.Optimizer:
        wrapped = self.optimizers()
        assert not isinstance(wrapped, list)
        return wrapped.optimizer

    @contextlib.contextmanager
    def _gradients_stay_here(self, more_follow: bool) -> Iterator[None]:
        """Add the ranks' gradients up only with the last part of a step."""
        parallel = self.trainer.strategy.model
        if more_follow and isinstance(parallel, DistributedDataParallel):
            with parallel.no_sync():
                yield
        else:
            yield

    def _check_gradients(self) -> None:
        """DistributedDataParallel would wait for parameters that no loss depends on."""
        unused = [
            name
            for name, parameter in self.model.named_parameters()
            if parameter.requires_grad and parameter.grad is None
        ]
        if unused:
            raise CheckError(
                f"the loss does not depend on {', '.join(unused[:5])}"
                f"{' and others' if len(unused) > 5 else ''}; freeze such parameters by name"
                " (requires_grad_(False)) to train in several processes."
            )

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

    def _over_ranks(self, loss: Tensor, norm: Tensor) -> tuple[float, float, list[int]]:
        """The mean loss, the gradient's norm, and the ranks where the step is not finite.

        All ranks get the same answer; the norm is that of their common gradient.
        """
        num_ranks = self.trainer.world_size
        row = torch.zeros(num_ranks + 1, device=loss.device, dtype=torch.float64)
        row[self.global_rank] = ~torch.isfinite(loss)
        row[-1] = loss / num_ranks
        if num_ranks > 1:
            torch.distributed.all_reduce(row)
        *bad, mean, length = torch.cat([row, norm.double()[None]]).tolist()
        ranks = [rank for rank, is_bad in enumerate(bad) if is_bad]
        if not ranks and not math.isfinite(length):
            ranks = list(range(num_ranks))
        return mean, length, ranks

    def _skip(self, batch: Batch, bad_ranks: list[int]) -> None:
        # The forward pass may have corrupted the batch norm statistics: restore the last good ones.
        self.average.restore_buffers(self.model)
        if self.precision.searches_scale and math.isfinite(self.last_loss):
            return
        self.skipped += 1
        number = self.steps_done + 1
        if self.global_rank in bad_ranks:
            print(
                f"step {number} is skipped: its loss or gradient is not finite; items"
                f" {name_items(batch)}",
                flush=True,
            )
        if self.skipped > self.settings.max_skipped:
            raise CheckError(
                f"{self.skipped} training steps gave a non-finite loss or gradient (the last was"
                f" step {number}; the items of each are named above); lower lr, or train in fp32."
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
        self.weights_changed(self.average.module)

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
        loss_sum, count = self._sums
        row = {
            "step": self.steps_done,
            "lr": self.learning_rate(),
            "train_loss": loss_sum / max(1, count),
            "skipped": self.skipped,
            **scores,
        }
        self._sums = [0.0, 0]
        self._plateau.update(row[self.monitor])
        self.history.append({name: float(value) for name, value in row.items()})

    def _gather(self, values: Tensor) -> np.ndarray:
        if self.trainer.world_size > 1:
            values = self.all_gather(values.to(self.device)).cpu()  # type: ignore[union-attr]
            values = values.flatten(0, 1)
        return values.numpy()

    # --- checkpoints

    @property
    def ended(self) -> str:
        """What has ended the run after its last validation: `steps`, `patience`, or nothing."""
        if self.steps_done >= self.settings.steps:
            return "steps"
        rows, patience = self.history, self.settings.patience
        if not rows or not patience or rows[-1]["step"] != self.steps_done:
            return ""
        stale = len(rows) - 1 - rows.index(best_row(rows, self.monitor))
        return "patience" if stale >= patience else ""

    def state(self) -> dict[str, Any]:
        """Everything that a checkpoint keeps; the same on all ranks."""
        return {
            "avsep": {
                "steps_done": self.steps_done,
                "skipped": self.skipped,
                "seed": self.seed,
                "sums": list(self._sums),
                "history": self.history,
                "plateau": self._plateau.state(),
                "precision": self.precision.state(),
            },
            "state_dict": self.state_dict(),
            "optimizer": self._optimizer().state_dict(),
        }

    def restore(self, checkpoint: dict[str, Any]) -> None:
        """Restore a checkpoint; the optimiser's part when there is one.

        Raises:
            CheckError: the checkpoint belongs to another seed or model.
        """
        state = checkpoint["avsep"]
        if state["seed"] != self.seed:
            raise CheckError(
                f"the checkpoint was trained with seed {state['seed']}, this run has seed"
                f" {self.seed}; set it back, or start again with --restart."
            )
        try:
            self.load_state_dict(checkpoint["state_dict"])
        except RuntimeError as error:
            raise CheckError(f"the checkpoint does not fit this model: {error}") from error
        self.steps_done, self.skipped = state["steps_done"], state["skipped"]
        self._sums = list(state["sums"])
        self.history = [dict(row) for row in state["history"]]
        self._plateau.load(state["plateau"])
        self.precision.load(state["precision"])
        self._optimizer_state = checkpoint["optimizer"]


def _lay_out_as_weights(optimizer: torch.optim.Optimizer) -> None:
    """Let a restored state lie in memory as its weights do, which fused optimisers rely on.

    Weights may lie otherwise on a GPU than on the CPU that wrote the checkpoint.
    """
    for parameter, state in optimizer.state.items():
        for name, values in state.items():
            if isinstance(values, Tensor) and values.shape == parameter.shape:
                state[name] = torch.empty_like(parameter.detach()).copy_(values)


def split_batch(batch: Batch, parts: int) -> list[Batch]:
    """A batch in equal parts, in order."""
    if parts == 1:
        return [batch]
    size = len(batch["item"]) // parts
    return [
        {name: values[i * size : (i + 1) * size] for name, values in batch.items()}
        for i in range(parts)
    ]


def name_items(batch: Batch) -> str:
    """The items of a batch by number and, where they have one, by the key of their sample."""
    numbers = [str(number) for number in batch["item"].tolist()]
    keys = batch.get("key", [""] * len(numbers))
    names = [
        f"{number} ({key})" if key else number for number, key in zip(numbers, keys, strict=True)
    ]
    return ", ".join(names)


def best_row(history: Sequence[dict[str, float]], monitor: str) -> dict[str, float]:
    """The first of the rows with the highest score; NaN is the lowest."""
    return max(history, key=lambda row: row[monitor] if row[monitor] == row[monitor] else -math.inf)


def step_seed(seed: int, step: int, rank: int) -> int:
    """The seed of one step on one rank."""
    return int(np.random.SeedSequence([seed, step, rank]).generate_state(1, np.uint64)[0] >> 1)
