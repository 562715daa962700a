"""Read the results of all models, for the page and the table; say what is missing."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from avsep.errors import CheckError
from avsep.evaluation.publish import METRICS_FULL
from avsep.evaluation.results import ResultRow, read_results
from avsep.files import read_json
from avsep.models.registry import MODELS
from avsep.workspace import Workspace

MAX_LOG_BYTES = 16 << 20


@dataclass(frozen=True, kw_only=True)
class ModelResults:
    """All that is known about one model.

    Attributes:
        name: name of the model, e.g. `vovit-s1`.
        metrics: content of `metrics_full.json`; None if the model was not evaluated.
        rows: rows of `results.parquet`.
        cost: content of `cost.json`; None if the cost was not measured.
        card: card of the checkpoint; None if the model was not trained.
        log: columns of the training log; an empty cell is NaN.
        examples: folder of each example, by mixture id.
        cost_problem: why the cost could not be measured, or empty.
        missing: why there are no results, or empty.
    """

    name: str
    metrics: dict[str, Any] | None = None
    rows: tuple[ResultRow, ...] = ()
    cost: dict[str, Any] | None = None
    card: dict[str, Any] | None = None
    log: dict[str, list[float]] = field(default_factory=dict)
    examples: dict[str, Path] = field(default_factory=dict)
    cost_problem: str = ""
    missing: str = ""

    @property
    def title(self) -> str:
        """The name to show."""
        return MODELS[self.name].title if self.name in MODELS else self.name

    @property
    def trained_on(self) -> str:
        """The number format and the machine of its training, in one sentence; empty if unknown."""
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
    def evaluated(self) -> bool:
        """Whether there are results."""
        return self.metrics is not None


def gather_models(workspace: Workspace, names: Sequence[str] = tuple(MODELS)) -> list[ModelResults]:
    """All that is known about the named models, in their order.

    Raises:
        CheckError: a file is damaged.
    """
    return [gather_model(workspace, name) for name in names]


def gather_model(workspace: Workspace, name: str) -> ModelResults:
    """All that is known about one model.

    Raises:
        CheckError: a file is damaged.
    """
    evaluation, run = workspace.evaluation(name), workspace.run(name)
    metrics = _json_if_there(evaluation / METRICS_FULL)
    cost = _json_if_there(evaluation / "cost.json")
    card = _json_if_there(run / "card.json")
    cost_problem = ""
    if cost is not None and "problem" in cost:
        cost_problem = str(cost["problem"])
        cost = None
    rows = read_results(evaluation / "results.parquet") if metrics is not None else []
    return ModelResults(
        name=name,
        metrics=metrics,
        rows=tuple(rows),
        cost=cost,
        card=card,
        log=read_log(run / "log.csv"),
        examples=_examples(evaluation / "examples"),
        cost_problem=cost_problem,
        missing=""
        if metrics is not None
        else f"not evaluated yet; run `avsep run evaluate --model {name}`",
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


def _json_if_there(path: Path) -> dict[str, Any] | None:
    if not path.is_file():
        return None
    content = read_json(path)
    if not isinstance(content, dict):
        raise CheckError(f"{path} is damaged: it is not a JSON object.")
    return content


def _examples(directory: Path) -> dict[str, Path]:
    if not directory.is_dir():
        return {}
    return {
        path.name: path for path in sorted(directory.iterdir()) if (path / "example.json").is_file()
    }
