"""Imports of large libraries, which take a third less time without the garbage collector."""

from __future__ import annotations

import gc
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

# Stages run in threads of a flow: one would find the collector off that another has turned off.
_one_at_a_time = threading.RLock()


@contextmanager
def large_imports() -> Iterator[None]:
    """Import in this block without the garbage collector.

    It would walk through all modules again and again while more of them come, and once more when
    the process ends. What is there after the block is left out of its later walks.
    """
    with _one_at_a_time:
        was_enabled, known = gc.isenabled(), len(sys.modules)
        try:
            gc.disable()
            yield
        finally:
            if len(sys.modules) > known:
                gc.freeze()
            if was_enabled:
                gc.enable()
