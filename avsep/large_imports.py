"""Imports of large libraries, which take a third less time without the garbage collector."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def large_imports() -> Iterator[None]:
    """Import in this block without the garbage collector.

    It would walk through all modules again and again while more of them come, and once more when
    the process ends. What is there after the block is left out of its later walks. For the main
    thread of a program.
    """
    was_enabled, known = gc.isenabled(), len(sys.modules)
    try:
        gc.disable()
        yield
    finally:
        if len(sys.modules) > known:
            gc.freeze()
        if was_enabled:
            gc.enable()
