"""Loaders of batches: how many processes load, and how batches get to the device."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Iterable
from functools import partial
from types import TracebackType
from typing import Any

from torch.utils.data import DataLoader, Dataset
from torch.utils.data.dataloader import _MultiProcessingDataLoaderIter

from avsep.loading.mixtures import Item, collate
from avsep.processes import default_workers, follow_parent
from avsep.training.config import RunSettings
from avsep.training.process import pick_device
from avsep.training.ranks import ranks_here
from avsep.training.task import Batch

MAX_WORKERS = 16  # per device, when nobody has chosen
MAX_VAL_WORKERS = 4  # per device; a validation is short, and its processes stay
TURN_S = 2.0  # of waiting for a batch, until the processes are looked at
PREFETCH = 4  # batches that each process keeps ready


def loading_processes(wanted: int | None, device: str, ranks: int) -> int:
    """The number of processes that load items for one device.

    Args:
        wanted: the setting `workers`.
        device: `cpu` or `cuda`.
        ranks: number of training processes on this machine, which share its cores.
    """
    if wanted is not None:
        return wanted
    if device == "cpu":
        return 0
    return max(1, min(MAX_WORKERS, default_workers() // ranks - 1))


def validating_processes(workers: int, batches: int) -> int:
    """The number of processes that load validation items for one device."""
    return min(workers, batches, MAX_VAL_WORKERS)


def cache_bytes(run: RunSettings) -> int:
    """Memory for decoded clips in each process that loads items, out of `cache_mb` per device."""
    workers = loading_processes(run.workers, pick_device(run.device).type, ranks_here())
    return (run.cache_mb << 20) // max(1, workers + min(workers, MAX_VAL_WORKERS))


def make_loader(
    data: Dataset[Item],
    batches: Iterable[list[int]],
    *,
    workers: int,
    device: str,
    timeout_s: float,
) -> DataLoader[Batch]:
    """Batches of a data set, in the given order.

    Args:
        data: items by number.
        batches: numbers of the items of each batch.
        workers: processes that load; they stay between epochs. 0 loads in this process.
        device: `cpu` or `cuda`; for `cuda`, batches lie in memory that it copies from directly.
        timeout_s: how long a batch may take in a process.
    """
    return _Loader(
        data,
        batch_sampler=batches,
        collate_fn=collate,
        num_workers=workers,
        persistent_workers=workers > 0,
        prefetch_factor=PREFETCH if workers else None,
        pin_memory=device == "cuda",
        timeout=timeout_s if workers else 0,
        worker_init_fn=partial(_start, os.getpid()),
    )


class _Loader(DataLoader[Batch]):
    """PyTorch's loader, which notices at once, or within seconds, that a process was killed.

    PyTorch learns of it by a signal, and raises an error wherever the training is at that moment.
    It ignores the signal until all processes have started, and Python drops the error where it
    comes in the callback of a weak reference. Then PyTorch would wait for the next batch of that
    process until the limit.
    """

    def _get_iterator(self) -> Any:
        if not self.num_workers:
            return super()._get_iterator()
        self.check_worker_number_rationality()
        batches = _Batches(self)
        if not all(process.is_alive() for process in batches._workers):
            raise RuntimeError("DataLoader worker was killed")
        return batches


class _Batches(_MultiProcessingDataLoaderIter):
    """Waits in turns, between which PyTorch looks whether all processes live."""

    def _try_get_data(self, timeout: float = TURN_S) -> tuple[bool, Any]:
        deadline = time.monotonic() + timeout
        while (left := deadline - time.monotonic()) > 0:
            found, batch = super()._try_get_data(min(left, TURN_S))
            if found:
                return found, batch
        return False, None


def _start(parent: int, _: int) -> None:
    follow_parent(parent)
    sys.excepthook = _report


def _report(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Print what went wrong, but not that the training ended while it fetched a batch from here.

    The thread that hands batches over reports it; the training itself says why it ended.
    """
    is_other_thread = threading.current_thread() is not threading.main_thread()
    if not (is_other_thread and isinstance(error, EOFError | OSError)):
        sys.__excepthook__(kind, error, trace)
