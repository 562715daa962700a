"""Find a learning rate or a batch size by short trials, in one process; nothing is written.

Lightning's tuner needs automatic optimisation, and steps that it may resize; ours are by hand.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, pstdev
from typing import NoReturn

import torch
from torch.utils.data import Dataset

from avsep.errors import CheckError
from avsep.loading.mixtures import Item, collate
from avsep.machine import available_mb, memory_mb, synchronise
from avsep.training.config import RunSettings
from avsep.training.precision import Precision
from avsep.training.samples import on_device
from avsep.training.task import Batch, FitTask, split_batch, step_seed

LOWEST_LR, HIGHEST_LR, LR_STEPS = 1e-6, 1.0, 80
SPAN = 10  # steps over which the loss is smoothed, and its fall measured
MAX_BATCH = 256
TIMED_STEPS = 3
FULL_SHARE = 0.8  # of the memory that is free: a larger batch is not tried


class FoundError(Exception):
    """Ends the trial instead of a training; its text is what was found."""


@dataclass(frozen=True)
class BatchTrial:
    """What a step with so many items at once takes.

    Attributes:
        batch: items at once.
        seconds: of the fastest of some steps.
        memory_mb: peak memory of the process, or of the GPU's tensors, in MiB.
    """

    batch: int
    seconds: float
    memory_mb: float

    @property
    def items_per_s(self) -> float:
        """Speed."""
        return self.batch / self.seconds


def find(task: FitTask, train: Dataset[Item], run: RunSettings, device: torch.device) -> NoReturn:
    """Find what `run.find` asks for.

    Raises:
        FoundError: always; its text says what was found.
        CheckError: no step can be done, or the loss does not fall at any rate.
    """
    name = "fp32" if run.precision == "auto" else run.precision
    task.precision = Precision(name, device.type)
    task.precision.set_up()
    task.to(device).train()
    if run.find == "lr":
        raise FoundError(told_rates(lr_trials(task, train, run)))
    most = task.settings.items_per_step(run.devices)
    trials = batch_trials(task, train, most=min(MAX_BATCH, most))
    raise FoundError(told_batches(trials, items=most, devices=run.devices))


# --- the learning rate


def lr_trials(task: FitTask, train: Dataset[Item], run: RunSettings) -> list[tuple[float, float]]:
    """Steps at rising rates, each with the items of a step of the training.

    Returns:
        The rate and the loss of each step, until the loss has risen by as much as it had fallen.
    """
    items = task.settings.items_per_step(run.devices)
    optimizer = task.configure_optimizers()
    rows: list[tuple[float, float]] = []
    for number in range(LR_STEPS):
        rate = LOWEST_LR * (HIGHEST_LR / LOWEST_LR) ** (number / (LR_STEPS - 1))
        for group in optimizer.param_groups:
            group["lr"] = rate
        first = number * items
        batch = on_device(collate([train[first + i] for i in range(items)]), task.device)
        loss = _step(task, optimizer, batch, -(-items // task.settings.batch), number, run.seed)
        if not math.isfinite(loss):
            break
        rows.append((rate, loss))
        if _has_risen([loss for _, loss in rows]):
            break
    return rows


def told_rates(rows: Sequence[tuple[float, float]]) -> str:
    """The rate at which the smoothed loss falls fastest, as a sentence.

    Raises:
        CheckError: it does not fall by more than it changes from step to step.
    """
    rates, losses = [rate for rate, _ in rows], [loss for _, loss in rows]
    level = smoothed(losses)
    lowest = level.index(min(level)) if level else 0
    if lowest < SPAN or level[0] - level[lowest] < _spread(losses):
        raise CheckError(
            f"the loss did not fall at any rate from {LOWEST_LR:g} to {HIGHEST_LR:g}; look at the"
            " data, or try another seed."
        )
    falls = [level[i - SPAN] - level[i] for i in range(SPAN, lowest + 1)]
    steepest = falls.index(max(falls)) + SPAN // 2
    table = "\n".join(
        f"{rates[i]:10.2e}  {level[i]:9.3f}"
        for i in range(len(rows))
        if i % 8 == 0 or i in (steepest, lowest)
    )
    return (
        f"      rate       loss\n{table}\n"
        f"The loss falls fastest at lr {rates[steepest]:.1e} and is lowest at {rates[lowest]:.1e};"
        " set fit.lr to the first, or to a tenth of the second."
    )


def smoothed(losses: Sequence[float]) -> list[float]:
    """The mean of each loss and those within half a span of it."""
    half = SPAN // 2
    near = [losses[max(0, i - half) : i + half + 1] for i in range(len(losses))]
    return [sum(some) / len(some) for some in near]


def _has_risen(losses: Sequence[float]) -> bool:
    """Whether the loss has left the lowest level by as much as it had fallen, and clearly."""
    if len(losses) < 3 * SPAN:
        return False
    level = smoothed(losses)
    fall = level[0] - min(level)
    return fmean(losses[-3:]) > level[0] + max(fall, _spread(losses))


def _spread(losses: Sequence[float]) -> float:
    """How much the loss changes from item to item: of the first steps, which learn nothing."""
    return 2 * pstdev(losses[:SPAN])


# --- the batch size


def batch_trials(task: FitTask, train: Dataset[Item], *, most: int) -> list[BatchTrial]:
    """Steps with 1, 2, 4 ... items at once, up to `most` or what the memory holds.

    Raises:
        CheckError: not even one item fits.
    """
    device = task.device
    optimizer = task.configure_optimizers()
    trials: list[BatchTrial] = []
    before = memory_mb("now", device.type)
    size = 1
    while True:
        batch = on_device(collate([train[i] for i in range(size)]), device)
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
        seconds = math.inf
        try:
            for number in range(1 + TIMED_STEPS):  # the first one warms up
                started = time.perf_counter()
                _step(task, optimizer, batch, 1, number, 0)
                synchronise(device.type)
                if number:
                    seconds = min(seconds, time.perf_counter() - started)
        except (torch.OutOfMemoryError, MemoryError) as error:
            if not trials:
                raise CheckError(
                    "the memory does not hold a step with one item; shorten fit.seconds."
                ) from error
            torch.cuda.empty_cache()
            break
        trials.append(BatchTrial(size, seconds, memory_mb("peak", device.type)))
        grown = trials[-1].memory_mb - before
        # A CPU's process would be killed without a word.
        if size == most or (device.type == "cpu" and grown > FULL_SHARE * available_mb()):
            break
        size = min(2 * size, most)
    return trials


def told_batches(trials: Sequence[BatchTrial], *, items: int, devices: int) -> str:
    """The fastest way to compute a step of `items` items on the devices, as a table and a sentence.

    Of those that are within 5 % of the fastest, it takes the one of least memory.
    """
    share = items // devices
    fitting = [trial for trial in trials if share % trial.batch == 0]
    fastest = max(trial.items_per_s for trial in fitting)
    best = next(trial for trial in fitting if trial.items_per_s >= 0.95 * fastest)
    table = "\n".join(
        f"{t.batch:5}  {t.seconds:10.3f}  {t.items_per_s:7.2f}  {t.memory_mb:10,.0f}"
        for t in trials
    )
    return (
        f"batch  s per step  items/s  memory MiB\n{table}\n"
        f"Set fit.batch to {best.batch} and fit.accumulate to {share // best.batch}: with devices"
        f" {devices}, a step keeps its {items} items."
    )


def _step(
    task: FitTask,
    optimizer: torch.optim.Optimizer,
    batch: Batch,
    parts: int,
    number: int,
    seed: int,
) -> float:
    """One step as a training does it; returns its loss."""
    torch.manual_seed(step_seed(seed, number, 0))
    optimizer.zero_grad(set_to_none=True)
    count = len(batch["item"])
    parts = next(n for n in range(parts, count + 1) if count % n == 0)
    total = 0.0
    for part in split_batch(batch, parts):
        with task.precision.autocast():
            loss = task.loss(part) / parts
        task.precision.scale(loss).backward()
        total += float(loss.detach())
    task.precision.unscale(optimizer)
    limit = task.settings.clip or math.inf
    parameters = [p for p in task.model.parameters() if p.grad is not None]
    norm = torch.nn.utils.clip_grad_norm_(parameters, limit, foreach=True)
    finite = math.isfinite(total) and bool(torch.isfinite(norm))
    if finite:
        optimizer.step()
        task.weights_changed(task.model)
        task.average.update(task.model, number)
    task.precision.after_step(finite=finite)
    return total if finite else math.nan
