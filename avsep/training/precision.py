"""Number formats of the forward pass, and which one is faster on this machine."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from avsep.errors import UsageError
from avsep.number_format import set_tf32

ResolvedName = Literal["fp32", "tf32", "bf16", "fp16"]

TIMED_STEPS = 3
# A smaller gain is noise. The demo's Dolphin gains 1.02 to 1.15 on CPUs with AMX, by the hour.
LEAST_GAIN = 1.03


class Precision:
    """Autocast, TF32 and, for fp16, the scale of the loss.

    Attributes:
        name: fp32, tf32, bf16 or fp16.
        device_type: `cpu` or `cuda`.
    """

    def __init__(self, name: ResolvedName, device_type: str) -> None:
        """Prepare a number format for a kind of device (`cpu`, `cuda`).

        Raises:
            UsageError: fp16 or tf32 without a GPU.
        """
        if name == "tf32" and device_type != "cuda":
            raise UsageError(f"precision tf32 needs a GPU, not {device_type}; use fp32.")
        if name == "fp16" and device_type != "cuda":
            raise UsageError(f"precision fp16 needs a GPU, not {device_type}; bf16 runs on both.")
        self.name = name
        self.device_type = device_type
        self._scaler = torch.amp.GradScaler(device_type, enabled=name == "fp16")

    def set_up(self) -> None:
        """Let the products of this process be computed as the format says, see `set_tf32`."""
        set_tf32(self.name, self.device_type)

    def autocast(self) -> AbstractContextManager[Any]:
        """The context of a forward pass."""
        if self.name in ("fp32", "tf32"):
            return nullcontext()
        dtype = torch.bfloat16 if self.name == "bf16" else torch.float16
        return torch.autocast(self.device_type, dtype=dtype)

    def scale(self, loss: Tensor) -> Tensor:
        """The loss to compute gradients from."""
        return self._scaler.scale(loss)

    def unscale(self, optimizer: torch.optim.Optimizer) -> None:
        """Divide the gradients by the scale of the loss."""
        if self._scaler.is_enabled():
            self._scaler.unscale_(optimizer)

    def after_step(self, *, finite: bool) -> None:
        """Adapt the scale of the loss to whether the gradients were finite."""
        if not self._scaler.is_enabled():
            return
        if finite:
            self._scaler.update()
        else:
            self._scaler.update(self._scaler.get_scale() * self._scaler.get_backoff_factor())

    @property
    def searches_scale(self) -> bool:
        """Whether non-finite gradients are a normal part of finding the scale of the loss."""
        return self._scaler.is_enabled() and self._scaler.get_scale() > 1.0

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {"name": self.name, "scaler": self._scaler.state_dict()}

    def load(self, state: dict[str, Any]) -> None:
        """Restore a checkpoint's state.

        Raises:
            UsageError: the checkpoint was trained in another format.
        """
        if state["name"] != self.name:
            raise UsageError(
                f"the checkpoint was trained in {state['name']}, this run is set to {self.name};"
                f" set precision to {state['name']}, or start again with --restart."
            )
        if self._scaler.is_enabled():
            self._scaler.load_state_dict(state["scaler"])


@dataclass(frozen=True)
class PrecisionChoice:
    """A number format and why it is used.

    Attributes:
        name: fp32, tf32, bf16 or fp16.
        reason: one line for the log.
    """

    name: ResolvedName
    reason: str


def time_precisions(step: Callable[[Precision], None], device_type: str) -> PrecisionChoice:
    """Time some steps in fp32, bf16 and, on a GPU, tf32, and choose the fastest format.

    CPUs with matrix units and GPUs gain from bf16; others lose by it.

    Args:
        step: does one forward and backward pass in the given format, and waits for it.
        device_type: `cpu` or `cuda`.
    """
    formats: list[ResolvedName] = ["fp32", "bf16"]
    if device_type == "cuda":
        formats.insert(1, "tf32")

    def timed(name: ResolvedName) -> float:
        precision = Precision(name, device_type)
        precision.set_up()
        started = time.perf_counter()
        step(precision)
        return time.perf_counter() - started

    for name in formats:  # warm up: kernels, caches and allocators
        timed(name)
    seconds = dict.fromkeys(formats, float("inf"))
    for _ in range(TIMED_STEPS):
        for name in formats:
            seconds[name] = min(seconds[name], timed(name))
    chosen: ResolvedName = "fp32"
    for name in formats[1:]:
        if seconds[chosen] / seconds[name] >= LEAST_GAIN:
            chosen = name
    times = [f"{seconds[name]:.3f} s in {name}" for name in formats]
    return PrecisionChoice(
        chosen,
        f"precision {chosen}: a step takes {', '.join(times[:-1])} and {times[-1]} here",
    )
