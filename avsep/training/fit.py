"""Fit a model: number format, loaders, Lightning's Trainer, checkpoints and logs.

A run goes on from its last checkpoint, and then leaves the same files as an unbroken one.
"""

from __future__ import annotations

import importlib.util
import logging
import sys
import warnings
from datetime import timedelta
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint, RichProgressBar, Timer
from lightning.pytorch.strategies import DDPStrategy, SingleDeviceStrategy, Strategy
from torch.utils.data import DataLoader, Dataset

from avsep.loading.mixtures import Item, collate
from avsep.loading.sampler import EpochSampler, ListSampler
from avsep.training.checkpoints import BEST, LAST, read_checkpoint
from avsep.training.config import TENSORBOARD, FitSettings, RunSettings
from avsep.training.logs import ProgressLines, RunFiles
from avsep.training.precision import Precision, PrecisionChoice, time_precisions
from avsep.training.process import pick_device, rank_and_ranks, ranks_here
from avsep.training.step_times import StepTimes
from avsep.training.task import Batch, FitTask


def fit(
    task: FitTask,
    train: Dataset[Item],
    val: Dataset[Item],
    *,
    run: RunSettings,
    directory: Path,
    name: str,
) -> None:
    """Train until the steps, the time or the patience are used up.

    Args:
        task: the model in training, with its settings.
        train: endless training items.
        val: the fixed list of validation items.
        run: device, precision, workers and so on.
        directory: gets `last.ckpt`, `best.ckpt`, `log.csv`, `metrics.json` and `dvclive/`. A run
            goes on from the `last.ckpt` that it finds here.
        name: name of the run, for lines on the terminal.

    Raises:
        CheckError: a damaged checkpoint, or too many non-finite steps.
        KeyboardInterrupt: the run was interrupted; the last checkpoint stands.
    """
    _hide_irrelevant_warnings()
    settings, device = task.settings, pick_device(run.device)
    rank, num_ranks = rank_and_ranks()
    precision = _choose_precision(task, train, run, directory, device)
    task.precision = Precision(precision.name, device.type)
    if rank == 0:
        print(f"{name}: {precision.reason}", flush=True)

    epochs = EpochSampler(
        batch=settings.batch, steps=settings.val_every, rank=rank, num_ranks=num_ranks
    )
    last = directory / LAST
    if last.exists():
        epochs.epoch = int(read_checkpoint(last)["avsep"]["steps_done"]) // settings.val_every
    train_loader = DataLoader(
        train,
        batch_sampler=epochs,
        collate_fn=collate,
        num_workers=run.workers,
        persistent_workers=run.workers > 0,
    )
    listed = ListSampler(
        num_items=len(val),  # type: ignore[arg-type]
        batch=settings.batch,
        rank=rank,
        num_ranks=num_ranks,
    )
    val_loader = DataLoader(val, batch_sampler=listed, collate_fn=collate)

    trainer = _trainer(settings, device, directory, _callbacks(task, directory, name))
    trainer.fit(
        task,
        train_loader,
        val_loader,
        ckpt_path=str(last) if last.exists() else None,
        weights_only=True,
    )
    if trainer.interrupted:
        raise KeyboardInterrupt


# --- the number format


def _choose_precision(
    task: FitTask, train: Dataset[Item], run: RunSettings, directory: Path, device: torch.device
) -> PrecisionChoice:
    """The number format: an earlier run's, or the one that is set, or the faster one."""
    if (directory / LAST).exists():
        name = read_checkpoint(directory / LAST)["avsep"]["precision"]["name"]
        if run.precision in ("auto", name):
            return PrecisionChoice(name, f"precision {name}, as in the checkpoint that is resumed")
    if run.precision != "auto":
        return PrecisionChoice(run.precision, f"precision {run.precision}, as set")
    task.to(device).train()
    batch = _to_device(collate([train[i] for i in range(task.settings.batch)]), device)
    # Batch norm and codebooks move in a forward pass: the trial leaves no trace.
    before = {key: value.clone() for key, value in task.model.state_dict().items()}

    def step(precision: Precision) -> None:
        with precision.autocast():
            loss = task.loss(batch)
        loss.backward()
        task.model.zero_grad(set_to_none=True)
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    choice = time_precisions(step, device.type)
    task.model.load_state_dict(before)
    return choice


def _to_device(batch: Batch, device: torch.device) -> Batch:
    return {k: v.to(device) if isinstance(v, torch.Tensor) else v for k, v in batch.items()}


# --- Lightning


def _callbacks(task: FitTask, directory: Path, name: str) -> list[pl.Callback]:
    settings = task.settings
    checkpoints = ModelCheckpoint(
        directory,
        filename=BEST.removesuffix(".ckpt"),
        monitor=task.monitor,
        mode="max",
        save_top_k=1,
        save_last=True,
        # Not on validation end: at that point Lightning's loops are in the middle of an epoch.
        save_on_train_epoch_end=True,
        enable_version_counter=False,
    )
    callbacks: list[pl.Callback] = [RunFiles(directory), StepTimes(directory), checkpoints]
    callbacks.append(RichProgressBar() if sys.stdout.isatty() else ProgressLines(name))
    if settings.patience:
        callbacks.append(
            EarlyStopping(
                task.monitor, patience=settings.patience, mode="max", check_on_train_epoch_end=True
            )
        )
    if settings.max_minutes:
        callbacks.append(Timer(timedelta(minutes=settings.max_minutes), interval="step"))
    return callbacks


def _trainer(
    settings: FitSettings, device: torch.device, directory: Path, callbacks: list[pl.Callback]
) -> pl.Trainer:
    return pl.Trainer(
        accelerator="gpu" if device.type == "cuda" else "cpu",
        devices=ranks_here(),
        num_nodes=rank_and_ranks()[1] // ranks_here(),
        strategy=_strategy(device),
        max_epochs=settings.epochs,
        callbacks=callbacks,
        logger=_tensorboard(directory),
        default_root_dir=directory,
        use_distributed_sampler=False,  # our samplers know the ranks
        num_sanity_val_steps=0,
        enable_progress_bar=sys.stdout.isatty(),
        enable_model_summary=False,
        log_every_n_steps=1,
    )


def _strategy(device: torch.device) -> Strategy:
    if rank_and_ranks()[1] == 1:
        return SingleDeviceStrategy(device=device)
    # Some parameters of the official architectures have no effect on the output.
    return DDPStrategy(
        process_group_backend="nccl" if device.type == "cuda" else "gloo",
        find_unused_parameters=True,
        timeout=timedelta(minutes=10),
    )


def _tensorboard(directory: Path) -> Any:
    if not any(importlib.util.find_spec(n) for n in ("tensorboard", "tensorboardX")):
        return False
    from lightning.pytorch.loggers import TensorBoardLogger

    return TensorBoardLogger(directory, name="", version=TENSORBOARD)


def _hide_irrelevant_warnings() -> None:
    """Hide hints of Lightning that do not concern a user of this project."""
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for text in (
        ".*does not have many workers.*",
        ".*in eval mode.*",
        ".*directory .* exists.*",
        ".*treespec.*is deprecated.*",  # Lightning 2.6 with torch 2.13
        ".*all_gather is deprecated.*",  # the same versions
        ".*recommended to use .*sync_dist=True.*",  # what is logged is the same on all ranks
        ".*Grad strides do not match bucket view.*",
    ):
        warnings.filterwarnings("ignore", message=text)
