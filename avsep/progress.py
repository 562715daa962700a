"""What a person sees while work goes on: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
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
# Set by a process that draws the bars of several others: they tell it their progress in lines.
TELL = "AVSEP_TELL_PROGRESS"
TOLD = "avsep-progress "  # followed by the items done, their total, and the title
TELL_EVERY_S = 0.5

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


def no_note(_: str) -> None:
    """Discard a line about the work."""


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
    if os.environ.get(TELL):
        yield _told(title, total)
    elif can_show_bar():
        from avsep.bars import Bars

        with Bars() as bars:
            bar = bars.add(title, total)
            yield NotedProgress(bar, bar.show)
    else:
        yield _lines(title, total)


def can_show_bar() -> bool:
    """Whether somebody draws bars for us, or stderr is a terminal that can."""
    if os.environ.get(TELL):
        return True
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


def _told(title: str, total: int) -> Progress:
    done, told = 0.0, -TELL_EVERY_S

    def tell() -> None:
        print(f"{TOLD}{done:.4f} {total} {title}", file=sys.stderr, flush=True)

    def advance(count: float) -> None:
        nonlocal done, told
        done += count
        now = time.monotonic()
        if now - told >= TELL_EVERY_S or done >= total:
            told = now
            tell()

    tell()
    return NotedProgress(advance, no_note)


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
