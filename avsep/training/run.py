"""One run from data sets to an exported model: loaders, precision, fit, card."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

from avsep import __version__
from avsep.loading.mixtures import Item, collate
from avsep.loading.sampler import ListSampler, RoundSampler
from avsep.models import checkpoint
from avsep.training.config import FitSettings, RunSettings
from avsep.training.precision import Choice, Precision, Resolved, choose
from avsep.training.task import Batch, FitTask
from avsep.training.trainer import (
    BEST,
    LAST,
    first_round,
    fit,
    load_average,
    pick_device,
    rank_and_ranks,
    read_checkpoint,
)


def run_fit(
    make_task: Callable[[Precision], FitTask],
    train: Dataset[Item],
    val: Dataset[Item],
    *,
    run: RunSettings,
    settings: FitSettings,
    directory: Path,
    name: str,
) -> FitTask:
    """Fit a model, going on where an earlier run in `directory` stopped.

    Args:
        make_task: makes the task for a number format.
        train: endless training items.
        val: the fixed list.
        run: seed, device, threads and so on.
        settings: of the fit.
        directory: of the checkpoints and logs.
        name: of the run, for lines on the terminal.
    """
    device = pick_device(run.device)
    task = make_task(Precision("fp32", device.type))
    choice = _precision(task, train, run, settings, directory, device)
    task.precision = Precision(choice.name, device.type)
    rank, num_ranks = rank_and_ranks()
    if rank == 0:
        print(f"{name}: {choice.sentence}", flush=True)
    rounds = RoundSampler(
        batch=settings.batch, steps=settings.val_every, rank=rank, num_ranks=num_ranks
    )
    rounds.round = first_round(directory, settings.val_every)
    listed = ListSampler(
        num_items=len(val),  # type: ignore[arg-type]
        batch=settings.batch,
        rank=rank,
        num_ranks=num_ranks,
    )
    fit(
        task,
        DataLoader(
            train,
            batch_sampler=rounds,
            collate_fn=collate,
            num_workers=run.workers,
            persistent_workers=run.workers > 0,
        ),
        DataLoader(val, batch_sampler=listed, collate_fn=collate),
        directory,
        name=name,
        device=device,
    )
    return task


def export(
    task: FitTask,
    directory: Path,
    card: Mapping[str, Any],
    *,
    part: Callable[[nn.Module], nn.Module] = lambda module: module,
) -> None:
    """Write the best averaged weights and their card, on the first rank.

    Args:
        task: after its fit.
        directory: of the run.
        card: at least `family`.
        part: what of the trained model is wanted.
    """
    if rank_and_ranks()[0] != 0:
        return
    load_average(task, directory / BEST)
    best = max(task.history, key=lambda row: row[task.monitor])
    checkpoint.save(
        part(task.average.module),
        directory,
        {
            "avsep_version": __version__,
            "git_commit": git_commit(directory),
            "precision": task.precision.name,
            "metrics": {name: round(value, 6) for name, value in best.items()},
            **card,
        },
    )


def git_commit(directory: Path) -> str:
    """The commit of the project that `directory` lies in; empty where there is none."""
    try:
        done = subprocess.run(
            ["git", "-C", str(directory), "rev-parse", "HEAD"],  # noqa: S607
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()[:40]


def _precision(
    task: FitTask,
    train: Dataset[Item],
    run: RunSettings,
    settings: FitSettings,
    directory: Path,
    device: torch.device,
) -> Choice:
    """The number format: an earlier run's, or as set, or the faster one."""
    if (directory / LAST).exists():
        name = read_checkpoint(directory / LAST)["avsep"]["precision"]["name"]
        if run.precision in ("auto", name):
            return Choice(name, f"precision {name}, as in the checkpoint that is resumed")
    if run.precision != "auto":
        return choose(run.precision, lambda _: None)
    task.to(device).train()
    batch = to_device(collate([train[i] for i in range(settings.batch)]), device)
    # Batch norm and codebooks move in a forward pass: the trial leaves no trace.
    before = {key: value.clone() for key, value in task.model.state_dict().items()}

    def step(name: Resolved) -> None:
        with Precision(name, device.type).autocast():
            loss = task.loss(batch)
        loss.backward()
        task.model.zero_grad(set_to_none=True)
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    choice = choose("auto", step)
    task.model.load_state_dict(before)
    return choice


def to_device(batch: Batch, device: torch.device) -> Batch:
    """The tensors of a batch on a device."""
    return {k: v.to(device) if isinstance(v, torch.Tensor) else v for k, v in batch.items()}
