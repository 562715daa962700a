"""Requests to end that Python drops, or remembers for too long."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from typing import Any

AGAIN_S = 0.2


@contextlib.contextmanager
def dropped_interrupts_come_again() -> Iterator[None]:
    """Send Ctrl-C or SIGTERM again whose exception Python has dropped.

    Where a signal comes while Python runs the callback of a weak reference or a `__del__`, it
    prints the exception that the handler has raised, and goes on as if nothing had happened.
    """
    before = sys.unraisablehook
    timers: list[threading.Timer] = []

    def hook(dropped: Any) -> None:
        if not issubclass(dropped.exc_type, KeyboardInterrupt | SystemExit):
            before(dropped)
            return
        asked = signal.SIGTERM if issubclass(dropped.exc_type, SystemExit) else signal.SIGINT
        again = threading.Timer(AGAIN_S, os.kill, (os.getpid(), asked))
        again.daemon = True
        timers.append(again)
        again.start()

    sys.unraisablehook = hook
    try:
        yield
    finally:
        sys.unraisablehook = before
        for again in timers:
            again.cancel()


def keep_exit_code() -> None:
    """Let a process that ends after an interruption end with the code that it chooses.

    Once a KeyboardInterrupt has passed through an `exec` (dataclasses use one), Python ends a
    `python -m` by SIGINT, even if it was caught. The next `exec` clears that.
    """
    exec("")  # noqa: S102
