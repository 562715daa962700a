"""Timing of tasks: single runs, and warm runs of several tasks in turns."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from avsep.machine import synchronise

K = TypeVar("K")


@dataclass(frozen=True, kw_only=True)
class Timing:
    """Warm runs of one task.

    Attributes:
        median_s: median of the wall time, in seconds.
        best_s: shortest wall time, in seconds.
        cpu_s: median of the processor time of all threads, in seconds; other load on the machine
            affects it less than the wall time.
        runs: number of runs.
    """

    median_s: float
    best_s: float
    cpu_s: float
    runs: int


def time_once(task: Callable[[], object], device: str) -> tuple[float, float]:
    """Wall and processor time of one run, in seconds."""
    synchronise(device)
    wall, cpu = time.perf_counter(), time.process_time()
    task()
    synchronise(device)
    return time.perf_counter() - wall, time.process_time() - cpu


def interleaved(
    tasks: Mapping[K, Callable[[], object]], *, runs: int, warm_ups: int, device: str
) -> dict[K, Timing]:
    """Time several tasks in turns, so that other load on the machine affects all of them alike.

    Args:
        tasks: tasks by name.
        runs: number of timed turns; at least 1.
        warm_ups: number of turns before the timed ones.
        device: `cpu` or `cuda`; synchronised before and after each run.
    """
    if runs < 1 or warm_ups < 0:
        raise ValueError(f"runs is {runs} and warm-ups {warm_ups}; at least 1 and 0 are needed.")
    for _ in range(warm_ups):
        for task in tasks.values():
            time_once(task, device)
    seconds: dict[K, list[tuple[float, float]]] = {name: [] for name in tasks}
    for _ in range(runs):
        for name, task in tasks.items():
            seconds[name].append(time_once(task, device))
    return {
        name: Timing(
            median_s=statistics.median(wall for wall, _ in pairs),
            best_s=min(wall for wall, _ in pairs),
            cpu_s=statistics.median(cpu for _, cpu in pairs),
            runs=runs,
        )
        for name, pairs in seconds.items()
    }
