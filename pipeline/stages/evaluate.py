"""evaluate: separate the listed mixtures with one model, score them, and keep a few examples.

An item is a mixture, listed or recorded. Its name in the ledger begins with that of the model,
since all models share the stage. A batch is a few dozen mixtures of one kind and leaves its rows in
the work folder. One more batch measures the model's cost.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from avsep.errors import CheckError, ItemError, State, UsageError, printable
from avsep.evaluation.config import EvaluateConfig
from avsep.files import (
    expand_home,
    link_or_copy,
    read_json,
    replaced_directory,
    settings_hash,
    sha256_file,
    write_json,
)
from avsep.large_imports import large_imports
from avsep.models.registry import MODELS
from avsep.outcome import Counts, Outcome
from avsep.progress import Progress
from avsep.schema import MixtureRecipe
from avsep.settings import as_values
from avsep.workspace import Workspace
from pipeline.execution.markers import read_marker, write_marker
from pipeline.execution.stage import Batch, Stage, StageReport

if TYPE_CHECKING:
    from avsep.evaluation.recordings import Recording
    from avsep.shards.store import ShardStore

NAME = "evaluate"
VERSION = 3  # of the scores; a new version scores every mixture again
COST = "cost"  # name of the batch and of the item that measure the cost
# Settings that change only the speed, what `finish` makes of the rows, or the recordings.
_WITHOUT_EFFECT = (
    *("runs", "workers", "timeout_s", "max_failed_share", "bootstrap_samples", "seed"),
    *("recordings", "quality"),
)


@dataclass(frozen=True)
class ListedMixture:
    """A mixture of the list, and whether it is kept as an example to hear."""

    recipe: MixtureRecipe
    is_example: bool


def plan(config: EvaluateConfig, workspace: Workspace) -> list[Batch]:
    """Batches of mixtures in the order of the list, of recordings by name, and one for the cost.

    Raises:
        UsageError: no model is named, the folder of recordings is missing or is not one, or a
            measure of `quality` lacks a package or a file.
        CheckError: the model, the list of mixtures or the shards are missing.
    """
    with large_imports():
        from avsep.models import checkpoint

    if not config.model:
        raise UsageError(f"evaluate needs a model: {', '.join(MODELS)}.")
    mixtures = _listed_mixtures(config, workspace)
    card = checkpoint.read_card(_run(config, workspace))
    weights = [card["sha256"], card["family"], card["config"]]
    common = settings_hash(
        VERSION,
        {k: v for k, v in as_values(config).items() if k not in _WITHOUT_EFFECT},
        weights,
        sha256_file(_manifest_path(workspace)),
        [mixture.recipe.mixture_id for mixture in mixtures if mixture.is_example],
    )
    batches = []
    for number, start in enumerate(range(0, len(mixtures), config.mixtures_per_batch)):
        chunk = mixtures[start : start + config.mixtures_per_batch]
        batches.append(
            Batch(
                name=f"{config.model}-{number:04d}",
                items=tuple(sorted(_item_name(config, m.recipe.mixture_id) for m in chunk)),
                settings=settings_hash(common, [as_values(m.recipe) for m in chunk]),
                rows=tuple(chunk),
            )
        )
    recordings = _recordings(config, workspace)
    for number, start in enumerate(range(0, len(recordings), config.mixtures_per_batch)):
        some = recordings[start : start + config.mixtures_per_batch]
        contents = {recording.name: recording.state() for recording in some}
        batches.append(
            Batch(
                name=f"{config.model}-recordings-{number:04d}",
                items=tuple(sorted(_recording_item(config, recording) for recording in some)),
                settings=settings_hash(VERSION, weights, config.quality, contents),
                rows=tuple(some),
            )
        )
    if config.cost:
        items = (_item_name(config, COST),)
        batches.append(Batch(name=f"{config.model}-{COST}", items=items, settings=common))
    return batches


def work(
    config: EvaluateConfig, workspace: Workspace, batch: Batch, progress: Progress
) -> list[Outcome]:
    """Evaluate the mixtures or the recordings of a batch, or measure the cost.

    Raises:
        CheckError: the model or a shard is damaged.
    """
    if marked := read_marker(workspace, NAME, batch):
        progress(len(batch.items))
        return marked[0]
    if _has_mixtures(batch):
        outcomes = _evaluate(config, workspace, batch, progress)
    elif batch.rows:
        outcomes = _score_recordings(config, workspace, batch, progress)
    else:
        outcomes = _measure_cost(config, workspace, batch)
        progress(1)
    write_marker(workspace, NAME, batch, outcomes)
    return outcomes


def finish(
    config: EvaluateConfig,
    workspace: Workspace,
    batches: Sequence[Batch],
    outcomes: Sequence[Outcome],
) -> StageReport:
    """Publish the results, both files of metrics, `plots/`, `examples/` and `cost.json`.

    The scores of recordings go to `recordings/<name of their folder>/`, in the files that
    `avsep recordings` writes.

    Raises:
        CheckError: not one mixture could be evaluated.
    """
    import numpy as np

    from avsep.evaluation.publish import METRICS_FULL, publish
    from avsep.evaluation.results import read_results
    from avsep.shards.index import read_index

    with_mixtures = [batch for batch in batches if _has_mixtures(batch)]
    recorded = [batch for batch in batches if batch.rows and not _has_mixtures(batch)]
    rows = [row for b in with_mixtures for row in read_results(_rows_path(config, workspace, b))]
    if not rows:
        raise CheckError(f"not one mixture of {config.split}.jsonl could be evaluated.")
    index = read_index(workspace.shards)
    (groups, names), (splits, split_names) = index.codes("group"), index.codes("split")
    elsewhere = [code for code, name in enumerate(split_names) if name != config.split]
    heard = {names[code] for code in set(groups[np.isin(splits, elsewhere)].tolist())}
    with replaced_directory(workspace.evaluation(config.model)) as out:
        publish(out, rows, heard_groups=heard, seed=config.seed, samples=config.bootstrap_samples)
        for batch in with_mixtures:
            for mixture_id, folder in _example_folders(config, workspace, batch).items():
                for path in sorted(folder.glob("*")):
                    link_or_copy(path, out / "examples" / mixture_id / path.name)
        if recorded:
            _publish_recordings(config, workspace, recorded, outcomes, out)
        if config.cost:
            link_or_copy(_cost_path(config, workspace), out / "cost.json")
        facts = _facts(config, read_json(out / METRICS_FULL))
    return StageReport(stage=NAME, counts=Counts.of(outcomes), facts=facts)


def _listed_mixtures(config: EvaluateConfig, workspace: Workspace) -> list[ListedMixture]:
    from avsep.evaluation.examples import spread
    from avsep.mixing.recipes import read_recipes

    recipes = read_recipes(workspace.mixtures / f"{config.split}.jsonl")
    if not recipes:
        raise CheckError(f"{config.split}.jsonl lists no mixtures; run the stage mix.")
    recipes = spread(recipes, config.max_mixtures or len(recipes))
    examples = {recipe.mixture_id for recipe in spread(recipes, config.example_count)}
    return [ListedMixture(recipe, recipe.mixture_id in examples) for recipe in recipes]


def _evaluate(
    config: EvaluateConfig, workspace: Workspace, batch: Batch, progress: Progress
) -> list[Outcome]:
    """Write the rows and the examples of a batch."""
    with large_imports():
        from avsep.evaluation.evaluate import evaluate_mixtures
    from avsep.evaluation.results import write_results
    from avsep.models import checkpoint
    from avsep.training.process import pick_device

    recipes = [mixture.recipe for mixture in batch.rows]
    run, device = _run(config, workspace), str(pick_device(config.device))
    number = batch.name.removeprefix(f"{config.model}-")
    rows, errors = evaluate_mixtures(
        _load_model(run, checkpoint.read_card(run)["sha256"], device, config.threads),
        _open_store(workspace.shards, sha256_file(_manifest_path(workspace))),
        recipes,
        config,
        device=device,
        unprocessed_path=workspace.work(NAME) / "unprocessed" / f"{number}.json",
        example_folders=_example_folders(config, workspace, batch),
        progress=progress,
    )
    write_results(_rows_path(config, workspace, batch), rows)
    return [
        Outcome.ended(_item_name(config, name), error.reason, error.message)
        if (error := errors.get(name))
        else Outcome.done(_item_name(config, name))
        for name in (recipe.mixture_id for recipe in recipes)
    ]


def _score_recordings(
    config: EvaluateConfig, workspace: Workspace, batch: Batch, progress: Progress
) -> list[Outcome]:
    """Write the rows of the recordings of a batch."""
    from avsep.evaluation.recordings import score_recordings
    from avsep.models import checkpoint
    from avsep.training.process import pick_device

    _check_measures(config.quality)
    run, device = _run(config, workspace), str(pick_device(config.device))
    model = _load_model(run, checkpoint.read_card(run)["sha256"], device, config.threads)
    rows: list[dict[str, Any]] = []
    outcomes = []
    for recording, found in score_recordings(
        model, batch.rows, device=device, quality=config.quality, workers=config.workers
    ):
        item = _recording_item(config, recording)
        if isinstance(found, ItemError):
            outcomes.append(Outcome.ended(item, found.reason, found.message))
        else:
            rows += found
            outcomes.append(Outcome.done(item))
        progress(1)
    write_json(_recorded_path(config, workspace, batch), rows)
    return sorted(outcomes, key=lambda outcome: outcome.item)


def _publish_recordings(
    config: EvaluateConfig,
    workspace: Workspace,
    batches: Sequence[Batch],
    outcomes: Sequence[Outcome],
    out: Path,
) -> None:
    from avsep.evaluation.publish import RECORDINGS
    from avsep.evaluation.recordings import publish_recordings

    reasons = {one.item: str(one.reason) for one in outcomes if one.state is not State.DONE}
    publish_recordings(
        out / RECORDINGS / _recordings_folder(config, workspace).name,
        [row for batch in batches for row in read_json(_recorded_path(config, workspace, batch))],
        model=config.model,
        failed=[
            {"recording": recording.name, "reason": reasons[item]}
            for batch in batches
            for recording in batch.rows
            if (item := _recording_item(config, recording)) in reasons
        ],
    )


@lru_cache(maxsize=1)
def _check_measures(measures: tuple[str, ...]) -> None:
    from avsep.evaluation.quality import check_measures

    check_measures(measures)


def _measure_cost(config: EvaluateConfig, workspace: Workspace, batch: Batch) -> list[Outcome]:
    """Write the cost, or why it could not be measured."""
    from avsep.evaluation.cost import measure_in_child
    from avsep.models import checkpoint
    from avsep.training.process import pick_device

    device = str(pick_device(config.device))
    load = partial(checkpoint.load, _run(config, workspace), device)
    try:
        cost = measure_in_child(load, config, device).as_values()
        outcome = Outcome.done(batch.items[0])
    except ItemError as error:
        cost = {"problem": error.message}
        outcome = Outcome.ended(batch.items[0], error.reason, error.message)
    write_json(_cost_path(config, workspace), cost)
    return [outcome]


@lru_cache(maxsize=1)
def _load_model(run: Path, sha256: str, device: str, threads: int) -> Any:
    """The model of a run, kept between batches; `sha256` identifies its weights."""
    import torch

    from avsep.models import checkpoint

    if threads:
        torch.set_num_threads(threads)
    return checkpoint.load(run, device)


@lru_cache(maxsize=1)
def _open_store(directory: Path, manifest_sha256: str) -> ShardStore:
    """The shards, kept open between batches; `manifest_sha256` identifies their content."""
    from avsep.shards.store import ShardStore

    return ShardStore(directory)


def _facts(config: EvaluateConfig, metrics: dict[str, Any]) -> dict[str, str | int | float]:
    facts: dict[str, str | int | float] = {"model": config.model}
    for condition, title in (("own", "SI-SNRi"), ("other", "with the other speaker's video")):
        if figure := metrics["overall"].get(condition, {}).get("si_snri"):
            facts[title] = f"{figure['mean']:.2f} dB"
    return facts


def _run(config: EvaluateConfig, workspace: Workspace) -> Path:
    """The folder of the trained model."""
    if not config.runs:
        return workspace.run(config.model)
    return workspace.root / expand_home(config.runs) / config.model


def _item_name(config: EvaluateConfig, mixture_id: str) -> str:
    return f"{config.model}:{mixture_id}"


def _recording_item(config: EvaluateConfig, recording: Recording) -> str:
    shown = printable(recording.name)
    if shown != recording.name:  # two names may look alike
        shown += f" ({settings_hash(recording.name)[:8]})"
    return _item_name(config, f"recording {shown or '.'}")


def _manifest_path(workspace: Workspace) -> Path:
    path = workspace.shards / "manifest.json"
    if not path.is_file():
        raise CheckError(f"{path} is missing; run the stage extract.")
    return path


def _recordings(config: EvaluateConfig, workspace: Workspace) -> list[Recording]:
    if not config.recordings:
        return []
    from avsep.evaluation.recordings import find_recordings

    _check_measures(config.quality)  # before hours of work
    return find_recordings(_recordings_folder(config, workspace))


def _recordings_folder(config: EvaluateConfig, workspace: Workspace) -> Path:
    return (workspace.root / expand_home(config.recordings)).resolve()


def _has_mixtures(batch: Batch) -> bool:
    return bool(batch.rows) and isinstance(batch.rows[0], ListedMixture)


def _work_folder(config: EvaluateConfig, workspace: Workspace) -> Path:
    return workspace.work(NAME) / config.model


def _rows_path(config: EvaluateConfig, workspace: Workspace, batch: Batch) -> Path:
    return _work_folder(config, workspace) / f"{batch.name}.parquet"


def _recorded_path(config: EvaluateConfig, workspace: Workspace, batch: Batch) -> Path:
    return _work_folder(config, workspace) / f"{batch.name}.json"


def _cost_path(config: EvaluateConfig, workspace: Workspace) -> Path:
    return _work_folder(config, workspace) / "cost.json"


def _example_folders(config: EvaluateConfig, workspace: Workspace, batch: Batch) -> dict[str, Path]:
    """The folders of a batch's examples, by mixture id."""
    folder = _work_folder(config, workspace) / "examples"
    ids = [mixture.recipe.mixture_id for mixture in batch.rows if mixture.is_example]
    return {mixture_id: folder / mixture_id for mixture_id in ids}


STAGE = Stage(
    NAME,
    EvaluateConfig,
    plan,
    work,
    finish,
    per_model=True,
    purpose="test {model} on unseen speakers",
)
