"""Measuring a process: work in a fresh one, its memory, and the machine it ran on."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Literal, TypeVar

import torch

from avsep.processes import follow_parent

MEBIBYTE = 1 << 20

T = TypeVar("T")


def in_child(job: Callable[[], T], *, timeout_s: float) -> T:
    """Do a job in a fresh process, so that its peak memory is its own.

    Args:
        job: must be picklable, e.g. a `functools.partial` of a module's function.
        timeout_s: limit for all of it, in seconds.

    Raises:
        TimeoutError: it took longer; the process is ended.
        BrokenProcessPool: it was killed, e.g. for want of memory.
    """
    pool = ProcessPoolExecutor(
        1,
        mp_context=get_context("spawn"),
        initializer=follow_parent,
        initargs=(os.getpid(),),
    )
    try:
        return pool.submit(job).result(timeout=timeout_s)
    except TimeoutError:
        for process in list((getattr(pool, "_processes", None) or {}).values()):
            process.kill()
        raise
    finally:
        # Waiting: an interpreter that ends meanwhile prints a traceback of its own.
        pool.shutdown(wait=True, cancel_futures=True)


def memory_mb(which: Literal["now", "peak"], device: str) -> float:
    """Memory of this process, or on a GPU what PyTorch holds there, in MiB; NaN where unknown.

    Not `ru_maxrss`: a child inherits that from the parent it was started from.
    """
    if device.startswith("cuda"):
        held = torch.cuda.max_memory_allocated if which == "peak" else torch.cuda.memory_allocated
        return held() / MEBIBYTE
    field = {"now": "VmRSS", "peak": "VmHWM"}[which]
    try:
        lines = Path("/proc/self/status").read_text("ascii", "replace").splitlines()
    except OSError:
        return float("nan")
    for line in lines:
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) / 1024
    return float("nan")


def machine() -> str:
    """Processor and the cores this process may use, in words."""
    name = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text("utf-8", "replace").splitlines():
            if line.startswith("model name"):
                name = line.split(":", 1)[1].strip()
                break
    return f"{name}, {len(os.sched_getaffinity(0))} cores"


def device_name(device: str) -> str:
    """The name of the GPU, or `cpu`."""
    return torch.cuda.get_device_name() if device.startswith("cuda") else "cpu"


def versions() -> str:
    """Python and PyTorch."""
    return f"Python {platform.python_version()}, PyTorch {torch.__version__}"


def synchronise(device: str) -> None:
    """Wait until a GPU has done what it was asked for."""
    if device.startswith("cuda"):
        torch.cuda.synchronize()
