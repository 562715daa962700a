"""From shards, mixtures and a recipe to a trained Dolphin in a folder."""

from __future__ import annotations

from pathlib import Path

from avsep.errors import CheckError
from avsep.loading.mixtures import Cue, ListedMixtures
from avsep.models import checkpoint
from avsep.models.dolphin import Dolphin, DolphinConfig
from avsep.settings import as_values
from avsep.training.config import RunSettings
from avsep.training.dolphin_task import DolphinTask
from avsep.training.lip_features import LipFeatureCache
from avsep.training.mixtures import Mixtures
from avsep.training.precision import Precision
from avsep.training.recipes import DolphinRecipe, with_overrides
from avsep.training.run import export, run_fit
from avsep.training.task import FitTask


def train_dolphin(
    recipe: DolphinRecipe, run: RunSettings, data: Mixtures, lipcoder: Path, directory: Path
) -> FitTask:
    """Train Dolphin on a pretrained lip encoder; see `run_fit` for interruptions.

    Args:
        recipe: of the model.
        run: seed, device and so on.
        data: mixtures of `recipe.fit.seconds`.
        lipcoder: directory of the pretrained lip encoder.
        directory: of the run.

    Raises:
        CheckError: the lip encoder has other sizes than the recipe's.
    """
    config = dolphin_config(recipe.size, recipe.overrides)
    encoder = checkpoint.load(lipcoder, family="lipcoder")
    if encoder.config != config.lip:
        raise CheckError(
            f"{lipcoder} holds a lip encoder of other sizes than train.dolphin asks for; give"
            " pretrain the same size and overrides and run it again."
        )
    model = Dolphin(config)
    model.lip_encoder.load_state_dict(encoder.state_dict())
    if not recipe.train_lip_encoder:
        model.freeze_lip_encoder()
    features, looks = None, 0
    if recipe.cached_looks:
        looks = recipe.cached_looks if recipe.augment.changes_lips else 0
        features = LipFeatureCache(
            model,
            data.store,
            recipe.augment,
            seed=run.seed,
            voices=data.draw.table.voices,
            looks=looks,
        )

    def make_task(precision: Precision) -> DolphinTask:
        return DolphinTask(
            model,
            recipe.fit,
            seed=run.seed,
            precision=precision,
            level_free=recipe.level_free,
            train_lip_encoder=recipe.train_lip_encoder,
            features=features,
        )

    cues: tuple[Cue, ...] = () if features else ("lips",)
    task = run_fit(
        make_task,
        data.items(run, recipe.augment, cues, paired=recipe.paired, looks=looks),
        ListedMixtures(data.store, data.val, cues=cues),
        run=run,
        settings=recipe.fit,
        directory=directory,
        name="dolphin",
    )
    export(task, directory, {"family": "dolphin", "recipe": as_values(recipe)})
    return task


def dolphin_config(size: str, overrides: dict[str, object]) -> DolphinConfig:
    """The config of a Dolphin from a recipe's size and overrides."""
    base = DolphinConfig.full() if size == "full" else DolphinConfig.demo()
    return with_overrides(base, overrides, "overrides")
