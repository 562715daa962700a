"""The process that trains: its device, its seeds and kernels."""

from __future__ import annotations

import os

import torch

from avsep.errors import CheckError
from avsep.training.ranks import ranks_here


def pick_device(wanted: str) -> torch.device:
    """The device of this process: `cpu`, `cuda`, or `auto` for a GPU where each rank has one.

    Raises:
        CheckError: `cuda` with fewer GPUs than ranks on this machine.
    """
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if wanted == "cuda" and count < ranks_here():
        raise CheckError(
            f"device is cuda with {ranks_here()} process(es) here, but PyTorch sees {count} GPU(s);"
            " set devices to their number, or device to auto or cpu."
        )
    if wanted == "cpu" or count < ranks_here():
        return torch.device("cpu")
    device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
    torch.cuda.set_device(device)  # what names no GPU goes to this one
    return device


def set_up_process(
    *, seed: int, threads: int, device: str = "auto", deterministic: bool = False
) -> None:
    """Set threads, seeds and the choice of kernels for this process.

    On a CPU the kernels are deterministic. On a GPU they are the fastest ones, unless deterministic
    ones are asked for.

    Raises:
        CheckError: see `pick_device`.
    """
    if threads:
        torch.set_num_threads(threads)
    torch.manual_seed(seed)
    on_gpu = pick_device(device).type == "cuda"
    deterministic = deterministic or not on_gpu
    if on_gpu and deterministic:
        # cuBLAS repeats its sums only with a workspace of fixed size.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    # warn_only: some CUDA kernels have no deterministic form; the CPU ones that we use have.
    torch.use_deterministic_algorithms(deterministic, warn_only=True)
    torch.backends.cudnn.benchmark = not deterministic
    # Deterministic mode would fill every new tensor with NaN: a launch each.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    # Denormal numbers slow a CPU down by an order of magnitude.
    torch.set_flush_denormal(True)
