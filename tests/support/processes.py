"""Processes that are not our children: waiting for their end, and the memory they had."""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path

from flows.processes import started

LIMIT_S = 240.0  # generous, for a busy machine


def all_end(pids: Iterable[int]) -> bool:
    """Wait until all processes have ended; False if one still runs after `LIMIT_S`."""
    deadline = time.monotonic() + LIMIT_S
    waiting = list(pids)
    while any(map(started, waiting)):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def high_water(pid: int) -> int:
    """The most memory that a process ever had, as the kernel keeps it."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) << 10 for line in lines if line.startswith("VmHWM")), 0)
