"""From shards and a recipe to a pretrained lip encoder in a folder."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from avsep.loading.clips import ListedClips, TrainClips
from avsep.loading.cues import Store
from avsep.models.dolphin import LipCoderConfig, LipCoderPretraining
from avsep.settings import as_values
from avsep.training.config import RunSettings
from avsep.training.lipcoder_task import LipCoderTask
from avsep.training.recipes import LipCoderRecipe
from avsep.training.run import export, run_fit
from avsep.training.task import FitTask
from avsep.training.train_dolphin import dolphin_config


def train_lipcoder(
    recipe: LipCoderRecipe, run: RunSettings, store: Store, directory: Path
) -> FitTask:
    """Pretrain on the training split; only the encoder is exported.

    Args:
        recipe: sizes, losses and fit.
        run: seed, device and so on.
        store: lips and sound.
        directory: of the run.
    """
    config = LipCoderConfig(
        lip=dolphin_config(recipe.size, recipe.overrides).lip,
        recon_weight=recipe.recon_weight,
        commit_weight=recipe.commit_weight,
        distill_weight=recipe.distill_weight,
        distill=recipe.distill,
    )
    model = LipCoderPretraining(config)
    num_frames = recipe.fit.num_frames
    task = run_fit(
        lambda precision: LipCoderTask(model, recipe.fit, seed=run.seed, precision=precision),
        TrainClips(store, seed=run.seed, num_frames=num_frames, augment=recipe.augment),
        ListedClips(store, split="val", num_frames=num_frames),
        run=run,
        settings=recipe.fit,
        directory=directory,
        name="lipcoder",
    )
    export(
        task,
        directory,
        {"family": "lipcoder", "recipe": as_values(recipe)},
        part=_encoder,
    )
    return task


def _encoder(averaged: nn.Module) -> nn.Module:
    assert isinstance(averaged, LipCoderPretraining)
    return averaged.encoder
