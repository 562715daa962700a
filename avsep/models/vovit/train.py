"""Train VoViT: its first stage, or the enhancer on top of a trained first stage."""

from __future__ import annotations

from pathlib import Path

from avsep.loading.mixtures import ListedMixtures, Mixtures, TrainMixtures
from avsep.models import checkpoint
from avsep.models.export import export
from avsep.models.vovit.model import VoViT
from avsep.models.vovit.task import VoViTTask, training_mean_face
from avsep.models.vovit.train_config import EnhancerTrainConfig, VoViTTrainConfig, network_config
from avsep.settings import with_overrides
from avsep.training.config import RunSettings
from avsep.training.fit import fit


def train_stage1(
    config: VoViTTrainConfig, run: RunSettings, data: Mixtures, directory: Path
) -> VoViTTask:
    """Train the first stage; its mean face is that of the training split.

    Args:
        config: sizes, augmentation and fit.
        run: seed, device and so on.
        data: mixtures of 2 s.
        directory: folder of the run.
    """
    model = VoViT(network_config(config)).set_mean_face(training_mean_face(data.store))
    return _train(model, config, run, data, directory, "vovit-s1")


def train_enhancer(
    config: EnhancerTrainConfig, run: RunSettings, data: Mixtures, directory: Path, stage1: Path
) -> VoViTTask:
    """Train the enhancer on a trained first stage, which stays as it is.

    Args:
        config: augmentation and fit.
        run: seed, device and so on.
        data: mixtures of 2 s.
        directory: folder of the run.
        stage1: folder of the trained `vovit-s1`.
    """
    first = checkpoint.load(stage1, family="vovit")
    assert isinstance(first, VoViT)
    enhancer = with_overrides(first.config.enhancer, config.overrides, "train.vovit.overrides")
    model = VoViT.on_stage1(first, enhancer)
    return _train(model, config, run, data, directory, "vovit")


def _train(
    model: VoViT,
    config: VoViTTrainConfig | EnhancerTrainConfig,
    run: RunSettings,
    data: Mixtures,
    directory: Path,
    name: str,
) -> VoViTTask:
    train = TrainMixtures(
        data.store,
        data.draw,
        seed=run.seed,
        cues=("landmarks",),
        augment=config.augment,
        paired=config.paired,
    )
    val = ListedMixtures(data.store, data.val, cues=("landmarks",))
    task = VoViTTask(model, config.fit, seed=run.seed)
    fit(task, train, val, run=run, directory=directory, name=name)
    export(
        task,
        directory,
        config,
        family="vovit",
        mean_face="of this model's own training landmarks; scale matters",
    )
    return task
