"""Timing of work: cold first run, warm runs, several kinds of work in turns."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from avsep.evaluation.machine import synchronise

K = TypeVar("K")


@dataclass(frozen=True, kw_only=True)
class Timing:
    """Warm runs of one kind of work.

    Attributes:
        median_s: of the wall time.
        best_s: shortest wall time.
        cpu_s: median of the processor time of all threads; what other work on the machine costs
            in wall time hardly shows in it.
        runs: how many.
    """

    median_s: float
    best_s: float
    cpu_s: float
    runs: int


def time_once(work: Callable[[], object], device: str) -> tuple[float, float]:
    """Wall and processor time of one run, in seconds."""
    synchronise(device)
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    synchronise(device)
    return time.perf_counter() - wall, time.process_time() - cpu


def interleaved(
    works: Mapping[K, Callable[[], object]], *, runs: int, warm_ups: int, device: str
) -> dict[K, Timing]:
    """Time several kinds of work round by round, so that noise meets all of them alike.

    Args:
        works: by name.
        runs: timed rounds, at least 1.
        warm_ups: rounds before that are not counted.
        device: `cpu` or `cuda`; waited for before and after each run.
    """
    if runs < 1 or warm_ups < 0:
        raise ValueError(f"runs is {runs} and warm-ups {warm_ups}; at least 1 and 0 are needed.")
    for _ in range(warm_ups):
        for work in works.values():
            time_once(work, device)
    seconds: dict[K, list[tuple[float, float]]] = {name: [] for name in works}
    for _ in range(runs):
        for name, work in works.items():
            seconds[name].append(time_once(work, device))
    return {
        name: Timing(
            median_s=statistics.median(wall for wall, _ in pairs),
            best_s=min(wall for wall, _ in pairs),
            cpu_s=statistics.median(cpu for _, cpu in pairs),
            runs=runs,
        )
        for name, pairs in seconds.items()
    }
