"""What a person sees while work goes on: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

LINE_EVERY_S = 15.0

Progress = Callable[[int], None]
"""Called with the number of items that have just ended."""

StepProgress = Callable[[str, int], AbstractContextManager[Progress]]
"""Called with the title of a step and its number of items; yields a `Progress` for that step."""


def no_progress(_: int) -> None:
    """Discard progress."""


@contextmanager
def hidden_progress(_title: str, _total: int) -> Iterator[Progress]:
    """Discard the progress of a step: a `StepProgress`."""
    yield no_progress


@contextmanager
def show_progress(title: str, total: int) -> Iterator[Progress]:
    """Show the progress of a step on stderr: a `StepProgress`.

    Args:
        title: what is being done.
        total: number of items; 0 where it is not known.
    """
    if sys.stderr.isatty():
        with _bar(title, total) as advance:
            yield advance
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
