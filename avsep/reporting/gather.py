"""Read the results of all models, for the page and the table; say what is missing."""

from __future__ import annotations

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


@dataclass(frozen=True, kw_only=True)
class ModelResults:
    """All that is known about one model.

    Attributes:
        name: name of the model, e.g. `vovit-s1`.
        metrics: content of `metrics_full.json`; None if the model was not evaluated.
        rows: rows of `results.parquet`.
        cost: content of `cost.json`; None if the cost was not measured.
        examples: folder of each example, by mixture id.
        cost_problem: why the cost could not be measured, or empty.
        missing: why there are no results, or empty.
    """

    name: str
    metrics: dict[str, Any] | None = None
    rows: tuple[ResultRow, ...] = ()
    cost: dict[str, Any] | None = None
    examples: dict[str, Path] = field(default_factory=dict)
    cost_problem: str = ""
    missing: str = ""

    @property
    def title(self) -> str:
        """The name to show."""
        return MODELS[self.name].title if self.name in MODELS else self.name

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
    evaluation = workspace.evaluation(name)
    metrics = json_if_there(evaluation / METRICS_FULL)
    cost = json_if_there(evaluation / "cost.json")
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
        examples=_examples(evaluation / "examples"),
        cost_problem=cost_problem,
        missing=""
        if metrics is not None
        else f"not evaluated yet; run `avsep run evaluate --model {name}`",
    )


def json_if_there(path: Path) -> dict[str, Any] | None:
    """The JSON object in a file; None if there is no such file.

    Raises:
        CheckError: the file is damaged.
    """
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
