"""Lightning's Trainer as this project sets it up: budgets, best and last checkpoint, resume."""

from __future__ import annotations

import importlib.util
import logging
import os
import sys
import warnings
from datetime import timedelta
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint, RichProgressBar, Timer
from lightning.pytorch.strategies import DDPStrategy, SingleDeviceStrategy, Strategy
from torch.utils.data import DataLoader

from avsep.errors import CheckError
from avsep.training.config import TENSORBOARD
from avsep.training.logs import ProgressLines, RunFiles
from avsep.training.task import FitTask

LAST, BEST = "last.ckpt", "best.ckpt"


def rank_and_ranks() -> tuple[int, int]:
    """This process's rank and their number, from what `torch.distributed.run` sets."""
    return int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))


def pick_device(wanted: str) -> torch.device:
    """The device of this process: `cpu`, `cuda`, or `auto` for a GPU where there is one.

    Raises:
        CheckError: `cuda` without a GPU.
    """
    if wanted == "cuda" and not torch.cuda.is_available():
        raise CheckError("device is cuda, but PyTorch sees no GPU here; set it to auto or cpu.")
    if wanted == "cpu" or not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))


def set_up_process(*, seed: int, threads: int) -> None:
    """Set threads, seeds and deterministic kernels for this process."""
    if threads:
        torch.set_num_threads(threads)
    torch.manual_seed(seed)
    # warn_only: some CUDA kernels have no deterministic form, and the CPU ones that we use have.
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.backends.cudnn.benchmark = False
    # Denormal numbers slow a CPU down by an order of magnitude.
    torch.set_flush_denormal(True)


def fit(
    task: FitTask,
    train: DataLoader[Any],
    val: DataLoader[Any],
    directory: Path,
    *,
    name: str,
    device: torch.device,
    show_bar: bool | None = None,
) -> None:
    """Train until the budget is used up, going on from `last.ckpt` where there is one.

    Args:
        task: the model in training.
        train: its batch sampler must already stand at the first round (see `first_round`).
        val: the fixed list.
        directory: gets `last.ckpt`, `best.ckpt`, `log.csv`, `metrics.json` and `dvclive/`.
        name: of the run, for lines on the terminal.
        device: of this process.
        show_bar: None for a bar on a terminal and lines elsewhere.

    Raises:
        CheckError: a damaged checkpoint, or too many non-finite steps.
        KeyboardInterrupt: interrupted; the last checkpoint stands.
    """
    _quiet()
    settings = task.settings
    bar = sys.stdout.isatty() if show_bar is None else show_bar
    checkpoints = ModelCheckpoint(
        directory,
        filename=BEST.removesuffix(".ckpt"),
        monitor=task.monitor,
        mode="max",
        save_top_k=1,
        save_last=True,
        # Not on validation end: there Lightning's loops stand in the middle of an epoch.
        save_on_train_epoch_end=True,
        enable_version_counter=False,
    )
    callbacks: list[pl.Callback] = [RunFiles(directory), checkpoints]
    callbacks.append(RichProgressBar() if bar else ProgressLines(name))
    if settings.patience:
        callbacks.append(
            EarlyStopping(
                task.monitor, patience=settings.patience, mode="max", check_on_train_epoch_end=True
            )
        )
    if settings.max_minutes:
        callbacks.append(Timer(timedelta(minutes=settings.max_minutes), interval="step"))
    trainer = pl.Trainer(
        accelerator="gpu" if device.type == "cuda" else "cpu",
        devices=int(os.environ.get("LOCAL_WORLD_SIZE", "1")),
        num_nodes=_num_nodes(),
        strategy=_strategy(device),
        max_epochs=settings.rounds,
        callbacks=callbacks,
        logger=_tensorboard(directory),
        default_root_dir=directory,
        use_distributed_sampler=False,  # ours know of ranks
        num_sanity_val_steps=0,
        enable_progress_bar=bar,
        enable_model_summary=False,
        log_every_n_steps=1,
    )
    last = directory / LAST
    try:
        trainer.fit(
            task, train, val, ckpt_path=str(last) if last.exists() else None, weights_only=True
        )
    except (EOFError, RuntimeError) as error:
        if "PytorchStreamReader" in str(error) or isinstance(error, EOFError):
            raise CheckError(f"{last} is damaged ({error}); remove it to train anew.") from error
        raise
    if trainer.interrupted:
        raise KeyboardInterrupt


def first_round(directory: Path, val_every: int) -> int:
    """The round at which a run in `directory` goes on; 0 for a new one."""
    last = directory / LAST
    if not last.exists():
        return 0
    return int(read_checkpoint(last)["avsep"]["steps_done"]) // val_every


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read a Lightning checkpoint of ours, running no code from it.

    Raises:
        CheckError: missing, damaged, or another program's.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise CheckError(f"{path} is missing.") from error
    except Exception as error:  # torch raises many kinds for a damaged file
        raise CheckError(f"{path} is no readable checkpoint: {error}") from error
    if not isinstance(content, dict) or "avsep" not in content:
        raise CheckError(f"{path} is no checkpoint of this project.")
    return content


def load_average(task: FitTask, path: Path) -> None:
    """Give `task.average` the averaged weights of a checkpoint, for export.

    Raises:
        CheckError: see `read_checkpoint`; or the weights do not fit.
    """
    state = read_checkpoint(path)["state_dict"]
    prefix = "average."
    ours = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
    try:
        task.average.load_state_dict(ours)
    except RuntimeError as error:
        raise CheckError(f"{path} does not fit this model: {error}") from error


def _num_nodes() -> int:
    return int(os.environ.get("WORLD_SIZE", "1")) // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))


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


def _quiet() -> None:
    """Silence hints that do not concern a user of this project."""
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for text in (
        ".*does not have many workers.*",
        ".*in eval mode.*",
        ".*directory .* exists.*",
        ".*treespec.*is deprecated.*",  # Lightning 2.6 with torch 2.13
        ".*all_gather is deprecated.*",  # likewise
        ".*recommended to use .*sync_dist=True.*",  # what is logged is the same on all ranks
        ".*Grad strides do not match bucket view.*",
    ):
        warnings.filterwarnings("ignore", message=text)
