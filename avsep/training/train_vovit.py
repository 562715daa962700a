"""From shards, mixtures and a recipe to a trained VoViT (either stage) in a folder."""

from __future__ import annotations

from pathlib import Path

from avsep.loading.mixtures import ListedMixtures
from avsep.models import checkpoint
from avsep.models.vovit import VoViT, VoViTConfig
from avsep.settings import as_values
from avsep.training.config import RunSettings
from avsep.training.mixtures import Mixtures
from avsep.training.recipes import EnhancerRecipe, VoViTRecipe, with_overrides
from avsep.training.run import export, run_fit
from avsep.training.task import FitTask
from avsep.training.vovit_task import VoViTTask, training_mean_face


def train_vovit_s1(
    recipe: VoViTRecipe, run: RunSettings, data: Mixtures, directory: Path
) -> FitTask:
    """Train VoViT's first stage; the mean face is that of the training split.

    Args:
        recipe: of the model.
        run: seed, device and so on.
        data: mixtures of 2 s.
        directory: of the run.
    """
    config = vovit_config(recipe.size, recipe.overrides)
    model = VoViT(config).set_mean_face(training_mean_face(data.store))
    return _train_vovit(model, recipe, run, data, directory, "vovit-s1")


def train_vovit(
    recipe: EnhancerRecipe, run: RunSettings, data: Mixtures, stage1: Path, directory: Path
) -> FitTask:
    """Train VoViT's enhancer on a trained first stage, which stays as it is.

    Args:
        recipe: of the enhancer.
        run: seed, device and so on.
        data: mixtures of 2 s.
        stage1: directory of the trained `vovit-s1`.
        directory: of the run.
    """
    first = checkpoint.load(stage1, family="vovit")
    assert isinstance(first, VoViT)
    enhancer = with_overrides(first.config.enhancer, recipe.overrides, "train.vovit.overrides")
    model = VoViT.on_stage1(first, enhancer)
    return _train_vovit(model, recipe, run, data, directory, "vovit")


def vovit_config(size: str, overrides: dict[str, object]) -> VoViTConfig:
    """The config of a first stage from a recipe's size and overrides."""
    base = VoViTConfig.full("speech-s1") if size == "full" else VoViTConfig.demo("speech-s1")
    return with_overrides(base, overrides, "overrides")


def _train_vovit(
    model: VoViT,
    recipe: VoViTRecipe | EnhancerRecipe,
    run: RunSettings,
    data: Mixtures,
    directory: Path,
    name: str,
) -> FitTask:
    task = run_fit(
        lambda precision: VoViTTask(model, recipe.fit, seed=run.seed, precision=precision),
        data.items(run, recipe.augment, ("landmarks",), paired=recipe.paired),
        ListedMixtures(data.store, data.val, cues=("landmarks",)),
        run=run,
        settings=recipe.fit,
        directory=directory,
        name=name,
    )
    export(
        task,
        directory,
        {
            "family": "vovit",
            "recipe": as_values(recipe),
            "mean_face": "of this model's own training landmarks; scale matters",
        },
    )
    return task
