"""What the benches of both models share: settings, child processes and number formats."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import torch

from avsep.bench.timing import Timing, interleaved
from avsep.machine import device_name, machine, versions
from avsep.processes import in_child
from avsep.validation import check_at_least

CHILD_LIMIT_S = 3600.0

K = TypeVar("K")


@dataclass(frozen=True, kw_only=True)
class ModelBench:
    """How a model is measured.

    Attributes:
        device: `cpu` or `cuda`.
        runs: number of timed runs.
        warm_ups: number of runs before the timed ones.
        threads: number of PyTorch's threads; 0 for its default.
    """

    device: str = "cpu"
    runs: int = 5
    warm_ups: int = 1
    threads: int = 0

    def __post_init__(self) -> None:
        check_at_least(self, 1, "runs")
        check_at_least(self, 0, "warm_ups", "threads")
        if self.device != "cpu" and not self.device.startswith("cuda"):
            raise ValueError(f"device is {self.device!r}; it may be cpu or cuda.")

    def environment(self) -> dict[str, str]:
        """The machine, the device and the versions, for the result."""
        return {
            "machine": machine(),
            "device": device_name(self.device),
            "versions": versions(),
        }

    def in_child(self, work: Callable[..., Any], *arguments: Any) -> Any:
        """The result of `work(self, *arguments)` in a fresh process.

        Raises:
            TimeoutError: it took longer than an hour.
            BrokenProcessPool: the process was killed.
        """
        return in_child(partial(work, self, *arguments), timeout_s=CHILD_LIMIT_S)

    def prepare(self) -> None:
        """Set threads and seed; for the start of a child process."""
        if self.threads:
            torch.set_num_threads(self.threads)
        torch.manual_seed(0)

    def time(self, tasks: Mapping[K, Callable[[], object]]) -> dict[K, Timing]:
        """Time tasks in turns."""
        return interleaved(tasks, runs=self.runs, warm_ups=self.warm_ups, device=self.device)


def autocast(precision: str, device: str) -> AbstractContextManager[Any]:
    """Autocast to `bf16` or `fp16`; for any other precision, no change."""
    dtype = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(precision)
    if dtype is None:
        return nullcontext()
    return torch.autocast(device.partition(":")[0], dtype=dtype)
