"""The machine that a measurement ran on: its name, its versions, and the memory in use."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Literal

import torch

MEBIBYTE = 1 << 20


def memory_mb(which: Literal["now", "peak"], device: str) -> float:
    """Memory of this process (CPU) or of PyTorch's tensors (GPU), in MiB; NaN if unknown.

    `ru_maxrss` does not serve: a child process inherits its parent's value.

    Args:
        which: the memory in use now, or the peak so far.
        device: `cpu` or `cuda`.
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


def available_mb() -> float:
    """Memory that processes may still take, in MiB; infinity if unknown."""
    try:
        lines = Path("/proc/meminfo").read_text("ascii", "replace").splitlines()
    except OSError:
        return float("inf")
    found = [int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")]
    return found[0] / 1024 if found else float("inf")


def machine() -> str:
    """The processor and the number of cores this process may use, e.g. `AMD EPYC, 16 cores`."""
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
    """The versions of Python and PyTorch, e.g. `Python 3.11, PyTorch 2.13`."""
    return f"Python {platform.python_version()}, PyTorch {torch.__version__}"


def synchronise(device: str) -> None:
    """Wait until a GPU has finished its queued work; does nothing on the CPU."""
    if device.startswith("cuda"):
        torch.cuda.synchronize()
