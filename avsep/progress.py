"""What a person sees while work goes on: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

LINE_EVERY_S = 15.0  # at first; later the lines become rarer
LINE_EVERY_S_LATE = 300.0
SPEED_PERIOD_S = 1800.0  # which the time left is estimated from

# Set for a process that trains by the one that started it and reads what it prints: it wants lines
# of steps, which are not for people. With the value `BAR_ABOVE`, it shows a bar of its own.
STEP_LINES = "AVSEP_STEP_LINES"
STEP_LINE = "avsep-step "  # followed by the steps done and their total
BAR_ABOVE = "bar"

Progress = Callable[[float], None]
"""Called with the number of items that have just ended; a long item may end by shares of it."""

StepProgress = Callable[[str, int], AbstractContextManager[Progress]]
"""Called with the title of a step and its number of items; yields a `Progress` for that step."""


@dataclass(frozen=True)
class NotedProgress:
    """A `Progress` that also shows how the work goes.

    Attributes:
        advance: counts items.
        show: shows a line, in place of the one before.
    """

    advance: Progress
    show: Callable[[str], None]

    def __call__(self, count: float) -> None:
        """Count items."""
        self.advance(count)


def note(progress: Progress, text: str) -> None:
    """Show a line about the work, e.g. how fast it goes, where somebody shows such lines."""
    if isinstance(progress, NotedProgress):
        progress.show(text)


def no_progress(_: float) -> None:
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
    if can_show_bar():
        with _bar(title, total) as advance:
            yield advance
    else:
        yield _lines(title, total)


def can_show_bar() -> bool:
    """Whether stderr is a terminal that can draw over what it has shown."""
    return sys.stderr.isatty() and os.environ.get("TERM", "dumb") not in ("dumb", "unknown")


def line_gap(passed: float) -> float:
    """Seconds between two lines about work that has gone on for `passed` seconds."""
    return min(LINE_EVERY_S_LATE, max(LINE_EVERY_S, passed / 40))


def duration(seconds: float) -> str:
    """A time in words for people, e.g. `2 h 13 min`, `4 min` or `35 s`."""
    minutes = round(seconds / 60)
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


@contextmanager
def _bar(title: str, total: int) -> Iterator[Progress]:
    from rich.console import Console, RenderableType
    from rich.progress import BarColumn, ProgressColumn, Task, TextColumn
    from rich.progress import Progress as RichProgress
    from rich.text import Text

    below = Text(style="dim", no_wrap=True, overflow="ellipsis")

    class Bars(RichProgress):
        def get_renderables(self) -> Iterable[RenderableType]:
            yield from super().get_renderables()
            if below.plain:
                yield below

    class Done(ProgressColumn):
        def render(self, task: Task) -> Text:
            # Of a single item, e.g. a training, the share tells more.
            share = f"{task.percentage:.0f} %" if total == 1 else f"{task.completed:.0f}/{total}"
            return Text(share if total else f"{task.completed:.0f}")

    class Left(ProgressColumn):
        max_refresh = 0.5

        def render(self, task: Task) -> Text:
            left = task.time_remaining
            if task.finished:
                return Text()
            # Until the time left is known, a clock shows that something goes on.
            return Text(duration(task.elapsed or 0) if left is None else f"{duration(left)} left")

    columns = (TextColumn("{task.description:>18}"), BarColumn(), Done(), Left())
    console = Console(stderr=True)
    with Bars(
        *columns, console=console, transient=True, speed_estimate_period=SPEED_PERIOD_S
    ) as bars:
        task = bars.add_task(title, total=total or None)

        def advance(count: float) -> None:
            bars.advance(task, count)

        def show(text: str) -> None:
            below.plain = f"{title:>18} {text}"

        yield NotedProgress(advance, show)


def _lines(title: str, total: int) -> Progress:
    started = shown = time.monotonic()
    done, how = 0.0, ""
    first: tuple[float, float] | None = None

    def advance(count: float) -> None:
        nonlocal done, shown, first
        whole, done = int(done), done + count
        now = time.monotonic()
        # What comes before the first item says nothing about the others: imports, a measurement.
        first = first or (now, done)
        # A share of an item says nothing here: what is so long prints lines of its own.
        if total != 1 and now - shown >= line_gap(now - started) and int(done) > whole:
            shown = now
            counted = f"{done:.0f} of {total}" if total else f"{done:.0f}"
            left = ""
            if first[1] < done < total:
                left = f", {duration((now - first[0]) / (done - first[1]) * (total - done))} left"
            text = f"{title}: {counted}, {duration(now - started)}{left}{how}"
            print(text, file=sys.stderr, flush=True)

    def show(text: str) -> None:
        nonlocal how
        how = f"; {text}"

    return NotedProgress(advance, show)
