"""What a person sees while a stage runs: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Progress = Callable[[int], None]
"""Called with the number of items that have just ended."""


def no_progress(_: int) -> None:
    """Show nothing."""


@contextmanager
def hidden_progress(_title: str, _total: int) -> Iterator[Progress]:
    """Yield a callback that shows nothing."""
    yield no_progress


LINE_EVERY_S = 15.0


@contextmanager
def stage_progress(title: str, total: int) -> Iterator[Progress]:
    """Yield a callback that takes the number of items that have just ended."""
    if sys.stderr.isatty():
        with _bar(title, total) as callback:
            yield callback
    else:
        yield _lines(title, total)


@contextmanager
def _bar(title: str, total: int) -> Iterator[Progress]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as RichProgress

    columns = (
        TextColumn("{task.description:>18}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with RichProgress(*columns, console=Console(stderr=True), transient=True) as bars:
        task = bars.add_task(title, total=total)

        def advance(count: int) -> None:
            bars.advance(task, count)

        yield advance


def _lines(title: str, total: int) -> Progress:
    started = shown = time.monotonic()
    done = 0

    def advance(count: int) -> None:
        nonlocal done, shown
        done += count
        now = time.monotonic()
        if now - shown >= LINE_EVERY_S:
            shown = now
            print(f"{title}: {done} of {total}, {now - started:.0f} s", file=sys.stderr, flush=True)

    return advance
