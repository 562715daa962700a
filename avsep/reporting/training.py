"""Read what is left of each training: its card, its logs, and how long its steps took."""

from __future__ import annotations

import csv
import itertools
import math
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from avsep.errors import CheckError
from avsep.models.registry import LIPCODER, MODELS
from avsep.reporting.gather import json_if_there
from avsep.training.config import STEP_LOG, STEP_TIMES
from avsep.workspace import Workspace

MAX_LOG_BYTES = 16 << 20
MAX_POINTS = 400  # of a curve of losses; a longer one is drawn as means of as many parts


@dataclass(frozen=True, kw_only=True)
class Training:
    """One training.

    Attributes:
        title: what was trained, for people.
        command: what trains it.
        card: card of the model; None if it was not trained.
        log: columns of the log of validations; an empty cell is NaN.
        losses: step and loss, at most `MAX_POINTS` of each; empty where no log of steps is left.
        times: content of `step_times.json`; None if it is not known how long the steps took.
    """

    title: str
    command: str
    card: dict[str, Any] | None = None
    log: Mapping[str, Sequence[float]] = field(default_factory=dict)
    losses: tuple[Sequence[float], Sequence[float]] = ((), ())
    times: dict[str, Any] | None = None

    @property
    def trained_on(self) -> str:
        """The number format and the machine, in one sentence; empty if unknown."""
        card = self.card or {}
        if (
            not {"precision", "machine", "device"} <= card.keys()
        ):  # released, or of an older version
            return ""
        place = (
            card["machine"] if card["device"] == "cpu" else f"{card['device']}, {card['machine']}"
        )
        return f"Trained in {card['precision']} on {place}."

    @property
    def steps(self) -> int:
        """Number of steps done; 0 if unknown."""
        known = [step for step in self.log.get("step", ()) if math.isfinite(step)]
        return int(known[-1]) if known else 0


def gather_trainings(workspace: Workspace, models: Sequence[str]) -> list[Training]:
    """The trainings of the models, after that of the lip encoder where there is one.

    Raises:
        CheckError: a file is damaged.
    """
    lips = _gather(
        workspace.lipcoder,
        workspace.work("pretrain") / LIPCODER.name,
        title="Lip encoder",
        command="avsep run pretrain",
    )
    has_lips = any(name in MODELS and LIPCODER.name in MODELS[name].needs for name in models)
    found = [gather_training(workspace, name) for name in models]
    return [lips, *found] if has_lips and lips.card is not None else found


def gather_training(workspace: Workspace, name: str) -> Training:
    """The training of one model.

    Raises:
        CheckError: a file is damaged.
    """
    return _gather(
        workspace.run(name),
        workspace.work("train") / name,
        title=MODELS[name].title if name in MODELS else name,
        command=f"avsep run train --model {name}",
    )


def _gather(run: Path, work: Path, *, title: str, command: str) -> Training:
    return Training(
        title=title,
        command=command,
        card=json_if_there(run / "card.json"),
        log=read_log(run / "log.csv"),
        # What holds times stays in the work folder, which another machine does not have.
        losses=read_losses(work / STEP_LOG),
        times=json_if_there(work / STEP_TIMES),
    )


def read_log(path: Path) -> dict[str, list[float]]:
    """The columns of a training log; empty if there is none.

    Raises:
        CheckError: the file is too large, or a cell is not a number.
    """
    if not path.is_file():
        return {}
    if path.stat().st_size > MAX_LOG_BYTES:
        raise CheckError(f"{path} is larger than {MAX_LOG_BYTES} bytes; is it a training log?")
    columns: dict[str, list[float]] = {}
    with path.open(encoding="utf-8", newline="") as handle:
        for row in csv.DictReader(handle):
            for name, text in row.items():
                try:
                    value = float(text) if text else math.nan
                except (TypeError, ValueError) as error:
                    raise CheckError(f"{path} is damaged: {name} is {text!r}.") from error
                columns.setdefault(name, []).append(value)
    return columns


def read_losses(path: Path) -> tuple[Sequence[float], Sequence[float]]:
    """Step and loss of a log of steps; means of parts of it where it is long. Empty without one.

    Rows that are damaged are left out: the last one may be half written.
    """
    steps, losses = array("d"), array("d")
    if path.is_file():
        with path.open(encoding="utf-8", errors="replace", newline="") as handle:
            for row in itertools.islice(csv.reader(handle), 1, None):
                try:
                    step, loss = float(row[0]), float(row[1])
                except (IndexError, ValueError):
                    continue
                if math.isfinite(step) and math.isfinite(loss):
                    steps.append(step)
                    losses.append(loss)
    size = -(-len(steps) // MAX_POINTS)
    if size < 2:
        return steps, losses
    starts = range(0, len(steps), size)
    means = [sum(part) / len(part) for i in starts if (part := losses[i : i + size])]
    return [steps[min(i + size, len(steps)) - 1] for i in starts], means
