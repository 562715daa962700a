"""What a run writes: lines for people, tables for plots, metrics for DVC."""

from __future__ import annotations

import contextlib
import csv
import io
import os
import time
from pathlib import Path

import lightning.pytorch as pl

from avsep.files import write_json, write_text
from avsep.progress import (
    BAR_ABOVE,
    STEP_LINE,
    STEP_LINES,
    Progress,
    can_show_bar,
    duration,
    line_gap,
    show_progress,
)
from avsep.training.callback import TaskCallback
from avsep.training.task import FitTask, best_row

TELL_EVERY_S = 1.0


class RunFiles(TaskCallback):
    """Writes `log.csv`, `metrics.json` and DVCLive's plain layout after each validation.

    All are rewritten from the task's history, which is part of the checkpoint: a resumed run leaves
    the same files as an unbroken one. They contain no times.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def after_validation(self, trainer: pl.Trainer, task: FitTask) -> None:
        """Write the files, on the first rank."""
        if trainer.is_global_zero and task.history:
            write_history(self._directory, task.history, task.monitor)


def write_history(directory: Path, history: list[dict[str, float]], monitor: str) -> None:
    """Write a run's history, one row per validation, and the metrics of the best row."""
    text = io.StringIO()
    names = list(history[-1])
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(names)
    writer.writerows([f"{row.get(name, float('nan')):.9g}" for name in names] for row in history)
    write_text(directory / "log.csv", text.getvalue())
    best = best_row(history, monitor)
    metrics = {
        "best_step": int(best["step"]),
        "steps": int(history[-1]["step"]),
        "skipped_steps": int(history[-1]["skipped"]),
        **{name: _rounded(value) for name, value in best.items() if name.startswith("val_")},
        "train_loss": _rounded(history[-1]["train_loss"]),
    }
    write_json(directory / "metrics.json", metrics)
    # The layout that DVCLive writes, so that `dvc plots` and editors find it; DVCLive itself
    # would bring DVC into this package.
    live = directory / "dvclive"
    write_json(live / "metrics.json", metrics)
    for name in names[1:]:
        rows = [f"{row['step']:.0f}\t{row.get(name, float('nan')):.9g}" for row in history]
        table = "\n".join([f"step\t{name}", *rows])
        write_text(live / "plots" / "metrics" / f"{name}.tsv", table + "\n")


def _rounded(value: float) -> float | None:
    # JSON has no NaN.
    return round(value, 6) if value == value and abs(value) != float("inf") else None


class TrainingProgress(TaskCallback):
    """Shows steps, loss and the time left: a bar on a terminal, a line now and then elsewhere.

    The process that started this one may show the bar itself. Then it is told the steps.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._started = self._shown = self._told = time.monotonic()
        self._first_step = 0
        self._bar = contextlib.ExitStack()
        self._advance: Progress | None = None

    def begun(self, trainer: pl.Trainer, task: FitTask) -> None:
        """Start the clock."""
        self._started = self._shown = time.monotonic()
        self._first_step = done = task.steps_done
        if not trainer.is_global_zero:
            return
        if os.environ.get(STEP_LINES):
            self._tell(task)
        elif can_show_bar():
            bar = show_progress(self._name, task.settings.steps)
            self._advance = self._bar.enter_context(bar)
            self._advance(done)

    def after_step(self, trainer: pl.Trainer, task: FitTask) -> None:
        """Show the step, the loss and the time left."""
        if not trainer.is_global_zero:
            return
        now = time.monotonic()
        if os.environ.get(STEP_LINES) and now - self._told >= TELL_EVERY_S:
            self._told = now
            self._tell(task)
        if self._advance:
            self._advance(1)
        elif os.environ.get(STEP_LINES) != BAR_ABOVE and now - self._shown >= line_gap(
            now - self._started
        ):
            self._shown = now
            self._print_line(task, now - self._started)

    def _tell(self, task: FitTask) -> None:
        print(f"{STEP_LINE}{task.steps_done} {task.settings.steps}", flush=True)

    def _print_line(self, task: FitTask, elapsed: float) -> None:
        done, total = task.steps_done, task.settings.steps
        per_step = elapsed / max(1, done - self._first_step)
        print(
            f"{self._name}: step {done} of {total}, loss {task.last_loss:.3f},"
            f" {per_step:.3f} s per step, {duration(per_step * (total - done))} left",
            flush=True,
        )

    def after_validation(self, trainer: pl.Trainer, task: FitTask) -> None:
        """Print the scores."""
        if not trainer.is_global_zero or not task.history:
            return
        row = task.history[-1]
        scores = ", ".join(
            f"{name.removeprefix('val_')} {value:.3f}"
            for name, value in row.items()
            if name.startswith("val_")
        )
        print(
            f"{self._name}: step {row['step']:.0f}, train loss {row['train_loss']:.3f},"
            f" validation {scores}, {duration(time.monotonic() - self._started)}",
            flush=True,
        )

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Take the bar away."""
        self._bar.close()
        self._advance = None
