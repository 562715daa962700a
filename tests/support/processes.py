"""Waiting for the end of processes that are not our children."""

from __future__ import annotations

import time
from collections.abc import Iterable

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
