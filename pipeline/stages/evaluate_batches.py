"""The work of `evaluate`: a batch of mixtures through a model, or the measurement of its cost."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import numpy as np
import torch

from avsep.errors import ItemError, Reason
from avsep.evaluation.conditions import Condition
from avsep.evaluation.config import EvaluateConfig
from avsep.evaluation.cost import measure_in_child
from avsep.evaluation.examples import write_example
from avsep.evaluation.items import EvaluationItem, Store, build_item
from avsep.evaluation.results import ResultRow, write_results
from avsep.evaluation.scoring import MIXTURE, Scoring, score
from avsep.evaluation.separate import Job, all_jobs, separate
from avsep.evaluation.unprocessed import read_untouched, write_untouched
from avsep.files import fresh_directory, settings_hash, sha256_file, write_json
from avsep.models import checkpoint
from avsep.outcome import Outcome
from avsep.processes import default_workers
from avsep.progress import Progress
from avsep.schema import MixtureRecipe
from avsep.settings import as_values
from avsep.shards.reader import ShardStore
from avsep.workspace import Workspace
from pipeline.execution.stage import Batch
from pipeline.stages.evaluate_listing import (
    cost_path,
    device_of,
    example_ids,
    example_path,
    item_name,
    listed_recipes,
    rows_path,
    untouched_path,
)


def evaluate_batch(
    config: EvaluateConfig, workspace: Workspace, batch: Batch, progress: Progress
) -> list[Outcome]:
    """Separate and score the mixtures of a batch; leaves their rows and examples.

    Raises:
        CheckError: the model or a shard is damaged.
    """
    wanted = set(batch.items)
    every = listed_recipes(config, workspace)
    recipes = [r for r in every if item_name(config, r.mixture_id) in wanted]
    store = ShardStore(workspace.shards)
    items, outcomes = _build_items(config, store, recipes)
    progress(len(recipes) - len(items))
    device = device_of(config)
    model: Any = _model(workspace.run(config.model), batch.settings, device, config.threads)
    jobs = all_jobs(items, [Condition(name) for name in config.conditions])
    estimates = dict(separate(model, items, jobs, batch=config.batch, device=device))
    scoring = _scoring(config)
    kept = untouched_path(config, workspace, batch.name)
    settings = _untouched_settings(workspace, scoring, recipes)
    untouched = read_untouched(kept, settings)
    rows = score(items, estimates, scoring, progress, untouched=untouched)
    write_untouched(kept, settings, untouched)
    for index, item in enumerate(items):
        mixture_id = item.recipe.mixture_id
        if mixture_id in example_ids(config, every):
            directory = example_path(config, workspace, mixture_id)
            _write_example(directory, store, item, index, estimates, rows)
    write_results(rows_path(config, workspace, batch.name), rows)
    return outcomes + [Outcome.done(item_name(config, i.recipe.mixture_id)) for i in items]


def measure_cost(config: EvaluateConfig, workspace: Workspace, batch: Batch) -> list[Outcome]:
    """Measure parameters, MACs, time and memory in a process of their own."""
    device = device_of(config)
    try:
        cost = measure_in_child(
            functools.partial(load_separator, workspace.run(config.model), device),
            audio_s=config.cost_audio_s,
            runs=config.cost_runs,
            threads=config.threads,
            device=device,
            timeout_s=config.cost_timeout_s,
        ).as_values()
        outcome = Outcome.done(batch.items[0])
    except TimeoutError:
        cost = {"problem": f"took more than {config.cost_timeout_s:g} s"}
        outcome = Outcome.ended(batch.items[0], Reason.TIMED_OUT, cost["problem"])
    except BrokenProcessPool:
        cost = {"problem": "its process was killed, perhaps for want of memory"}
        outcome = Outcome.ended(batch.items[0], Reason.WORKER_DIED, cost["problem"])
    write_json(cost_path(config, workspace), cost)
    return [outcome]


def load_separator(run: Path, device: str) -> torch.nn.Module:
    """The trained model of a run, in eval mode; importable by name in a child process."""
    return checkpoint.load(run, device)


@functools.lru_cache(maxsize=1)
def _model(run: Path, settings: str, device: str, threads: int) -> torch.nn.Module:
    """The model of a run, kept between batches; `settings` tells one checkpoint from another."""
    if threads:
        torch.set_num_threads(threads)
    return load_separator(run, device)


def _build_items(
    config: EvaluateConfig, store: Store, recipes: Sequence[MixtureRecipe]
) -> tuple[list[EvaluationItem], list[Outcome]]:
    sha256_of = {row.key: row.audio_sha256 for row in store.index}
    items: list[EvaluationItem] = []
    outcomes: list[Outcome] = []
    for recipe in recipes:
        try:
            items.append(build_item(store, sha256_of, recipe))
        except ItemError as error:
            name = item_name(config, recipe.mixture_id)
            outcomes.append(Outcome.ended(name, error.reason, error.message))
    return items, outcomes


def _write_example(
    directory: Path,
    store: Store,
    item: EvaluationItem,
    index: int,
    estimates: Mapping[Job, np.ndarray],
    rows: Sequence[ResultRow],
) -> None:
    write_example(
        fresh_directory(directory),  # other settings may have left other files
        item,
        {job: estimate for job, estimate in estimates.items() if job.item == index},
        [row for row in rows if row.mixture_id == item.recipe.mixture_id],
        [store.meta(source.key) for source in item.recipe.sources],
    )


def _untouched_settings(
    workspace: Workspace, scoring: Scoring, recipes: Sequence[MixtureRecipe]
) -> str:
    """A hash of all that decides the scores of the untouched mixtures of a batch."""
    return settings_hash(
        scoring.metrics_for(MIXTURE),
        [as_values(recipe) for recipe in recipes],
        sha256_file(workspace.shards / "manifest.json"),
    )


def _scoring(config: EvaluateConfig) -> Scoring:
    return Scoring(
        sdr=config.sdr,
        perceptual=config.perceptual,
        perceptual_conditions=tuple(Condition(name) for name in config.perceptual_conditions),
        workers=default_workers() if config.workers is None else config.workers,
        timeout_s=config.timeout_s,
    )
