"""Evaluate a model on mixtures: separate every voice, score the estimates, keep some examples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from avsep.damage import parse_damage
from avsep.errors import ItemError
from avsep.evaluation.babble import BabbleVoices
from avsep.evaluation.config import BASIC, MIXTURE, EvaluateConfig
from avsep.evaluation.examples import write_example
from avsep.evaluation.items import EvaluationItem, build_item
from avsep.evaluation.results import ResultRow
from avsep.evaluation.scoring import score
from avsep.evaluation.separate import SeparationModel, estimate_keys, separate
from avsep.evaluation.unprocessed import read_unprocessed, write_unprocessed
from avsep.files import fresh_directory, settings_hash, sha256_file
from avsep.progress import Progress, no_progress
from avsep.schema import MixtureRecipe
from avsep.settings import as_values
from avsep.shards.manifest import MANIFEST_NAME
from avsep.shards.store import ShardStore

CPU_BATCH, GPU_BATCH = 8, 16  # estimates at a time


def evaluate_mixtures(
    model: SeparationModel,
    store: ShardStore,
    recipes: Sequence[MixtureRecipe],
    config: EvaluateConfig,
    *,
    device: str = "cpu",
    unprocessed_path: Path | None = None,
    example_folders: Mapping[str, Path] | None = None,
    progress: Progress = no_progress,
) -> tuple[list[ResultRow], dict[str, ItemError]]:
    """Separate and score each voice of each mixture under each condition.

    Args:
        model: the model in eval mode, on `device`.
        store: the shards that the recipes were drawn from.
        recipes: the mixtures.
        config: names the conditions, the metrics and the sizes of batches.
        device: `cpu` or `cuda`.
        unprocessed_path: a file that keeps the scores of the unprocessed mixtures for other
            models; it is read if it fits, and written.
        example_folders: where to write the sounds and lips of a mixture, by mixture id; only
            these mixtures are kept as examples.
        progress: called with the number of mixtures that were just finished.

    Returns:
        One row per mixture, voice and condition, and the error of each mixture that cannot be
        rendered, by mixture id.

    Raises:
        CheckError: a shard is damaged, or no other voice can be used for babble.
    """
    damages = [parse_damage(name)[0] for name in config.conditions if name not in BASIC]
    babble = BabbleVoices(store, config.split) if "babble" in damages else None
    items: list[EvaluationItem] = []
    errors: dict[str, ItemError] = {}
    for recipe in recipes:
        try:
            items.append(build_item(store, recipe, babble))
        except ItemError as error:
            errors[recipe.mixture_id] = error
    progress(len(errors))
    keys = estimate_keys(items, config.conditions)
    batch = config.batch or (CPU_BATCH if device == "cpu" else GPU_BATCH)
    estimates = dict(separate(model, items, keys, batch=batch, device=device))
    # Everything that decides the scores of the unprocessed mixtures.
    settings = settings_hash(
        config.metrics_for(MIXTURE),
        [as_values(recipe) for recipe in recipes],
        sha256_file(store.directory / MANIFEST_NAME),
    )
    unprocessed = read_unprocessed(unprocessed_path, settings) if unprocessed_path else {}
    rows = score(items, estimates, config, progress, unprocessed=unprocessed)
    if unprocessed_path:
        write_unprocessed(unprocessed_path, settings, unprocessed)
    for index, item in enumerate(items):
        if folder := (example_folders or {}).get(item.recipe.mixture_id):
            write_example(
                fresh_directory(folder),  # other settings may have left other files
                item,
                {
                    key: estimate
                    for key, estimate in estimates.items()
                    if key.item == index and key.condition in BASIC
                },
                [row for row in rows if row.mixture_id == item.recipe.mixture_id],
                [store.meta(source.key) for source in item.recipe.sources],
            )
    return rows, errors
