"""Bars on a terminal, one or several at a time."""

from __future__ import annotations

from collections.abc import Iterable
from types import TracebackType

from rich.console import Console, RenderableType
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskID, TextColumn
from rich.text import Text

from avsep.progress import SPEED_PERIOD_S, duration


class Bars:
    """A context in which stderr shows bars, and what is said stands above them."""

    def __init__(self) -> None:
        self._notes: dict[TaskID, str] = {}
        self._bars = _Bars(self._notes)

    def __enter__(self) -> Bars:
        """Begin to draw."""
        self._bars.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Take the bars away."""
        self._bars.stop()

    def add(self, title: str, total: int) -> Bar:
        """A bar below the others; `total` is 0 where the number of items is not known."""
        return Bar(self._bars, self._notes, title, total)

    def say(self, line: str) -> None:
        """Print a line above the bars, as it is."""
        self._bars.console.out(line, highlight=False)


class Bar:
    """One bar: a `Progress` that also shows how the work goes."""

    def __init__(self, bars: _Bars, notes: dict[TaskID, str], title: str, total: int) -> None:
        self._bars, self._notes, self._title = bars, notes, title
        self._task = bars.add_task(title, total=total or None)

    def __call__(self, count: float) -> None:
        """Count items."""
        self._bars.advance(self._task, count)

    def show(self, text: str) -> None:
        """Show a line about the work below the bars."""
        self._notes[self._task] = f"{self._title:>18} {text}"

    def move_to(self, done: float) -> None:
        """Set the number of items that have ended."""
        self._bars.update(self._task, completed=done)

    def remove(self) -> None:
        """Take it away."""
        self._notes.pop(self._task, None)
        self._bars.remove_task(self._task)


class _Bars(Progress):
    def __init__(self, notes: dict[TaskID, str]) -> None:
        self._notes = notes
        super().__init__(
            TextColumn("{task.description:>18}"),
            BarColumn(),
            _Done(),
            _Left(),
            console=Console(stderr=True),
            transient=True,
            speed_estimate_period=SPEED_PERIOD_S,
        )

    def get_renderables(self) -> Iterable[RenderableType]:
        yield from super().get_renderables()
        for note in list(self._notes.values()):
            yield Text(note, style="dim", no_wrap=True, overflow="ellipsis")


class _Done(ProgressColumn):
    def render(self, task: Task) -> Text:
        if task.total is None:
            return Text(f"{task.completed:.0f}")
        # Of a single item, e.g. a training, the share tells more.
        share = f"{task.completed:.0f}/{task.total:.0f}"
        return Text(f"{task.percentage:.0f} %" if task.total == 1 else share)


class _Left(ProgressColumn):
    max_refresh = 0.5

    def render(self, task: Task) -> Text:
        left = task.time_remaining
        if task.finished:
            return Text()
        # Until the time left is known, a clock shows that something goes on.
        return Text(duration(task.elapsed or 0) if left is None else f"{duration(left)} left")
