"""Fit a model: number format, loaders, Lightning's Trainer, checkpoints and logs.

A run goes on from its last checkpoint, and then leaves the same files as an unbroken one.
"""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import signal
import tempfile
import warnings
from collections.abc import Iterator
from datetime import timedelta
from functools import partial
from pathlib import Path

import lightning.pytorch as pl
import torch
from lightning.fabric.plugins.environments import (
    ClusterEnvironment,
    LightningEnvironment,
    TorchElasticEnvironment,
)
from lightning.pytorch.loggers import Logger
from lightning.pytorch.strategies import DDPStrategy, SingleDeviceStrategy, Strategy
from torch.utils.data import Dataset

from avsep.errors import CheckError
from avsep.files import write_json
from avsep.loading.mixtures import Item, collate
from avsep.loading.sampler import EpochSampler, ListSampler
from avsep.processes import MAX_TEMP_BYTES, short_temp_folder
from avsep.training.batch_norm import over_ranks
from avsep.training.checkpoints import (
    Checkpoints,
    TimeIsUpError,
    checkpoint_precision,
    newest_checkpoint,
)
from avsep.training.config import ENDED, RunSettings, share_of_step
from avsep.training.finders import find
from avsep.training.loaders import loading_processes, make_loader, validating_processes
from avsep.training.loggers import make_loggers
from avsep.training.logs import RunFiles, TrainingProgress
from avsep.training.precision import Precision, PrecisionChoice, time_precisions
from avsep.training.process import pick_device
from avsep.training.ranks import MEETING, rank_and_ranks, ranks_here
from avsep.training.samples import Samples, on_device
from avsep.training.step_log import StepLog
from avsep.training.step_times import StepTimes
from avsep.training.task import FitTask

LOADER_TIMEOUT_S = 300  # for one batch
RANKS_TIMEOUT = timedelta(minutes=10)


def fit(
    task: FitTask,
    train: Dataset[Item],
    val: Dataset[Item],
    *,
    run: RunSettings,
    directory: Path,
    name: str,
    samples: Dataset[Item] | None = None,
) -> None:
    """Train until the steps, the time or the patience are used up.

    Args:
        task: the model in training, with its settings.
        train: endless training items.
        val: the fixed list of validation items.
        run: device, precision, workers and so on.
        directory: gets `last.ckpt`, `best.ckpt`, `log.csv`, `metrics.json` and `dvclive/`. A run
            goes on from the `last.ckpt` that it finds here. Only the first rank uses it.
        name: name of the run, for lines on the terminal.
        samples: validation items to show what the model makes of them; those of `val` if None.

    Raises:
        FoundError: `run.find` asks for something else than a training.
        CheckError: damaged checkpoints, too many non-finite steps, a loading process that was
            killed or hangs, memory that ran out, a step that the ranks cannot share, or no
            validation within `max_minutes`.
        KeyboardInterrupt: the run was interrupted; the last checkpoint stands.
    """
    _hide_irrelevant_warnings()
    settings, device = task.settings, pick_device(run.device)
    rank, num_ranks = rank_and_ranks()
    items = settings.items_per_step(run.devices)
    share, task.parts = share_of_step(items, settings.batch, num_ranks)
    resumed = newest_checkpoint(directory) if rank == 0 else None
    at_once = share // task.parts
    if run.find:
        find(task, train, run, device)
    if rank == 0:  # the others get its number format before they restore the checkpoint
        with _one_sentence(at_once, settings.seconds):
            precision = _choose_precision(task, train, at_once, run, resumed, device)
        task.precision = Precision(precision.name, device.type)
        print(f"{name}: {precision.reason}", flush=True)

    workers = loading_processes(run.workers, device.type, ranks_here())
    loader = partial(make_loader, device=device.type, timeout_s=LOADER_TIMEOUT_S)
    drawn = EpochSampler(
        items=items,
        steps=settings.val_every,
        rank=rank,
        num_ranks=num_ranks,
        position=lambda: task.steps_done,
    )
    listed = ListSampler(
        num_items=len(val),  # type: ignore[arg-type]
        batch=settings.batch,
        rank=rank,
        num_ranks=num_ranks,
    )
    train_loader = loader(train, drawn, workers=workers)
    val_loader = loader(val, listed, workers=validating_processes(workers, len(listed)))

    if num_ranks > 1:
        over_ranks(task.model)
    callbacks: list[pl.Callback] = [
        RunFiles(directory),
        StepTimes(directory, share),
        StepLog(directory, items),
        Samples(directory, val if samples is None else samples, settings.samples_every),
        Checkpoints(directory, resumed),
        TrainingProgress(name),
    ]
    loggers = make_loggers(run.loggers, directory, name)
    trainer = _trainer(device, directory, callbacks, loggers)
    ended = ""
    with _sockets_work(workers), _one_sentence(at_once, settings.seconds):
        try:
            trainer.fit(task, train_loader, val_loader)
            ended = task.ended
        except TimeIsUpError:
            ended = "max_minutes"
        except SystemExit:  # what Lightning makes of Ctrl-C
            if not trainer.interrupted:
                raise
    if trainer.interrupted and not ended:
        raise KeyboardInterrupt
    if rank == 0:
        _note_the_end(task, directory, name, ended)


def _note_the_end(task: FitTask, directory: Path, name: str, ended: str) -> None:
    """Write why the training has stopped.

    Raises:
        CheckError: it has stopped before its first validation.
    """
    write_json(directory / ENDED, {"by": ended, "step": task.steps_done})
    if ended != "max_minutes":
        return
    minutes, steps = task.settings.max_minutes, task.settings.steps
    said = f"max_minutes ({minutes:g}) ended this start at step {task.steps_done} of {steps}"
    if not task.history:
        raise CheckError(
            f"{said}, before the first validation (val_every {task.settings.val_every}); the same"
            " command goes on."
        )
    print(f"{name}: {said}; the same command goes on.", flush=True)


# --- loaders


@contextlib.contextmanager
def _sockets_work(workers: int) -> Iterator[None]:
    """Loader processes send what they load through sockets, which need a short temporary folder."""
    usual = tempfile.gettempdir()
    if not workers or len(os.fsencode(usual)) <= MAX_TEMP_BYTES:
        yield
        return
    with short_temp_folder() as folder:
        tempfile.tempdir = str(folder)
        try:
            yield
        finally:
            tempfile.tempdir = usual


@contextlib.contextmanager
def _one_sentence(batch: int, seconds: float) -> Iterator[None]:
    """Say what has run out, or which process has gone, in place of PyTorch's traceback."""
    what = (
        f"with {batch} items of {seconds:g} s at once. Lower fit.batch and raise fit.accumulate by"
        " the same factor, which keeps the items of each step"
    )
    try:
        yield
    except torch.OutOfMemoryError as error:
        reason = str(error).splitlines()[0]
        raise CheckError(
            f"the memory of the GPU ran out {what}, or shorten fit.seconds. PyTorch says: {reason}"
        ) from error
    except MemoryError as error:
        raise CheckError(f"memory ran out {what}, or lower cache_mb or workers.") from error
    except RuntimeError as error:
        text = str(error)
        if text.startswith("DataLoader timed out"):
            raise CheckError(
                f"no training items came for {LOADER_TIMEOUT_S} s: the disk is too slow, or a"
                " loading process hangs; set workers to 0 to load them in the training process."
            ) from error
        if text.startswith("DataLoader worker") and ("killed" in text or "exited" in text):
            raise CheckError(
                "a process that loads training items was killed, perhaps because memory ran out;"
                " the same command goes on from the checkpoint. Lower workers or cache_mb if it"
                " happens again."
            ) from error
        raise


# --- the number format


def _choose_precision(
    task: FitTask,
    train: Dataset[Item],
    at_once: int,
    run: RunSettings,
    resumed: bytes | None,
    device: torch.device,
) -> PrecisionChoice:
    """The number format: an earlier run's, the set one, or the faster one for `at_once` items.

    Called before the ranks are connected: batch norms of several ranks would wait for the others.
    """
    if resumed is not None:
        name = checkpoint_precision(resumed)
        if run.precision in ("auto", name):
            return PrecisionChoice(name, f"precision {name}, as in the checkpoint that is resumed")
    if run.precision != "auto":
        return PrecisionChoice(run.precision, f"precision {run.precision}, as set")
    task.to(device).train()
    batch = on_device(collate([train[i] for i in range(at_once)]), device)
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


# --- Lightning


def _trainer(
    device: torch.device, directory: Path, callbacks: list[pl.Callback], loggers: list[Logger]
) -> pl.Trainer:
    return pl.Trainer(
        accelerator="gpu" if device.type == "cuda" else "cpu",
        devices=ranks_here(),
        num_nodes=rank_and_ranks()[1] // ranks_here(),
        strategy=_strategy(device),
        max_epochs=-1,  # the task knows its end, and the epochs of an earlier start
        callbacks=callbacks,
        logger=loggers or False,
        default_root_dir=directory,
        use_distributed_sampler=False,  # our samplers know the ranks
        num_sanity_val_steps=0,
        enable_progress_bar=False,
        enable_checkpointing=False,  # ours is a callback
        plugins=[_environment()],
        enable_model_summary=False,
        log_every_n_steps=1,
    )


def _strategy(device: torch.device) -> Strategy:
    if rank_and_ranks()[1] == 1:
        return SingleDeviceStrategy(device=device)
    return _Ranks(
        process_group_backend="nccl" if device.type == "cuda" else "gloo", timeout=RANKS_TIMEOUT
    )


class _Ranks(DDPStrategy):
    """Several ranks. Those that the stage starts meet by a file that only their user can open.

    By address, rank 0 would listen on all interfaces of the machine, to anybody.
    """

    def setup_distributed(self) -> None:
        if (path := os.environ.get(MEETING)) and not torch.distributed.is_initialized():
            rank, ranks = rank_and_ranks()
            on_gpu = self.root_device.type != "cpu"
            torch.distributed.init_process_group(
                self.process_group_backend,
                store=torch.distributed.FileStore(path, ranks),
                rank=rank,
                world_size=ranks,
                timeout=RANKS_TIMEOUT,
                device_id=self.root_device if on_gpu else None,
            )
            if on_gpu:
                atexit.register(_leave_ranks)
        super().setup_distributed()  # which leaves a group alone that is there


def _leave_ranks() -> None:
    """PyTorch warns of a group of GPUs that is there at the end."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def _environment() -> ClusterEnvironment:
    # Chosen here: Lightning would take the variables of Slurm or MPI around us for our ranks.
    # Torchrun's are set for several ranks, whoever has started them.
    return TorchElasticEnvironment() if rank_and_ranks()[1] > 1 else LightningEnvironment()


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
