"""evaluate: separate the listed mixtures with one model, measure, and keep a few to hear.

An item is a mixture (`<model>:<mixture id>`), a batch a few dozen of them; each batch leaves its
rows in the work folder. One more batch measures the model's cost.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from avsep.errors import CheckError, UsageError
from avsep.evaluation.config import MODELS, EvaluateConfig
from avsep.files import fresh_directory, link_or_copy, read_json, settings_hash
from avsep.outcome import Counts, Outcome
from avsep.progress import Progress
from avsep.settings import as_values
from avsep.workspace import Workspace
from pipeline.execution.markers import read_marker, write_marker
from pipeline.execution.stage import Batch, Stage, StageReport

if TYPE_CHECKING:
    from avsep.evaluation.results import ResultRow

NAME = "evaluate"
COST = "cost"  # the batch that measures the cost


def plan(config: EvaluateConfig, workspace: Workspace) -> list[Batch]:
    """Batches of mixtures in the order of the list, and one for the cost.

    Raises:
        UsageError: no model is named.
        CheckError: the model, the list of mixtures or the shards are missing.
    """
    from pipeline.stages.evaluate_listing import common_settings, item_name, listed_recipes

    if not config.model:
        raise UsageError(f"evaluate needs a model: {', '.join(MODELS)}.")
    recipes = listed_recipes(config, workspace)
    common = common_settings(config, workspace, recipes)
    batches = []
    for number, start in enumerate(range(0, len(recipes), config.mixtures_per_batch)):
        some = recipes[start : start + config.mixtures_per_batch]
        batches.append(
            Batch(
                name=f"{config.model}-{number:04d}",
                items=tuple(sorted(item_name(config, recipe.mixture_id) for recipe in some)),
                settings=settings_hash(common, [as_values(recipe) for recipe in some]),
                rows=tuple(some),
            )
        )
    if config.cost:
        items = (item_name(config, COST),)
        batches.append(Batch(name=f"{config.model}-{COST}", items=items, settings=common))
    return batches


def work(
    config: EvaluateConfig, workspace: Workspace, batch: Batch, progress: Progress
) -> list[Outcome]:
    """Evaluate the mixtures of a batch, or measure the cost."""
    if marked := read_marker(workspace, NAME, batch):
        progress(len(batch.items))
        return marked[0]
    from pipeline.stages.evaluate_batches import evaluate_batch, measure_cost

    if _is_cost(batch):
        outcomes = measure_cost(config, workspace, batch)
        progress(1)
    else:
        outcomes = evaluate_batch(config, workspace, batch, progress)
    write_marker(workspace, NAME, batch, outcomes)
    return outcomes


def finish(
    config: EvaluateConfig,
    workspace: Workspace,
    batches: Sequence[Batch],
    outcomes: Sequence[Outcome],
) -> StageReport:
    """Publish `results.parquet`, `metrics.json`, `plots/`, `examples/` and `cost.json`.

    Raises:
        CheckError: not one mixture could be evaluated.
    """
    from avsep.evaluation.publish import publish
    from avsep.shards.index import read_index
    from pipeline.stages.evaluate_listing import (
        cost_path,
        example_ids,
        example_path,
        listed_recipes,
    )

    rows = _all_rows(config, workspace, batches)
    if not rows:
        raise CheckError(f"not one mixture of {config.split}.jsonl could be evaluated.")
    out = fresh_directory(workspace.evaluation(config.model))
    heard = {row.group for row in read_index(workspace.shards) if row.split != config.split}
    publish(out, rows, heard_groups=heard, seed=config.seed, samples=config.bootstrap_samples)
    for mixture_id in example_ids(config, listed_recipes(config, workspace)):
        for path in sorted(example_path(config, workspace, mixture_id).glob("*")):
            link_or_copy(path, out / "examples" / mixture_id / path.name)
    if config.cost:
        link_or_copy(cost_path(config, workspace), out / "cost.json")
    facts = _facts(config, read_json(out / "metrics.json"))
    return StageReport(stage=NAME, counts=Counts.of(outcomes), facts=facts)


def _is_cost(batch: Batch) -> bool:
    return batch.name.endswith(f"-{COST}")


def _all_rows(
    config: EvaluateConfig, workspace: Workspace, batches: Sequence[Batch]
) -> list[ResultRow]:
    from avsep.evaluation.results import read_results
    from pipeline.stages.evaluate_listing import rows_path

    return [
        row
        for batch in batches
        if not _is_cost(batch)
        for row in read_results(rows_path(config, workspace, batch.name))
    ]


def _facts(config: EvaluateConfig, metrics: dict[str, Any]) -> dict[str, str | int | float]:
    facts: dict[str, str | int | float] = {"model": config.model}
    for condition, title in (("own", "SI-SNRi"), ("other", "with the other's video")):
        if figure := metrics["overall"].get(condition, {}).get("si_snri"):
            facts[title] = f"{figure['mean']:.2f} dB"
    return facts


STAGE = Stage(NAME, EvaluateConfig, plan, work, finish, per_model=True)
