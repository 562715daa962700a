"""Train Dolphin's separator on a pretrained lip encoder."""

from __future__ import annotations

from pathlib import Path

from avsep.errors import CheckError
from avsep.loading.mixtures import Cue, ListedMixtures, Mixtures, TrainMixtures
from avsep.loading.streaming import StreamDraw
from avsep.models import checkpoint
from avsep.models.dolphin.lip_features import LipFeatureCache
from avsep.models.dolphin.model import Dolphin
from avsep.models.dolphin.task import DolphinTask
from avsep.models.dolphin.train_config import DolphinTrainConfig, network_config
from avsep.models.export import export
from avsep.training.config import RunSettings
from avsep.training.fit import fit


def train_dolphin(
    config: DolphinTrainConfig, run: RunSettings, data: Mixtures, directory: Path, lipcoder: Path
) -> DolphinTask:
    """Train, and leave the model in the folder of the run; see `fit` for interruptions.

    Args:
        config: sizes, loss, augmentation and fit.
        run: seed, device and so on.
        data: mixtures of `config.fit.seconds`.
        directory: folder of the run.
        lipcoder: folder of the pretrained lip encoder.

    Raises:
        CheckError: the lip encoder has other sizes than `config` asks for, or the data are read
            in sequence and features are to be kept.
    """
    # The model, with the pretrained lip encoder in it.
    sizes = network_config(config)
    encoder = checkpoint.load(lipcoder, family="lipcoder")
    if encoder.config != sizes.lip:
        raise CheckError(
            f"{lipcoder} holds a lip encoder of other sizes than train.dolphin asks for; give"
            " pretrain the same size and overrides and run it again."
        )
    model = Dolphin(sizes)
    model.lip_encoder.load_state_dict(encoder.state_dict())
    if not config.train_lip_encoder:
        model.freeze_lip_encoder()

    # The data: with kept lip features, items need no pictures.
    cues: tuple[Cue, ...] = ("lips",)
    features, views = None, 0
    if config.cached_views:
        if isinstance(data.draw, StreamDraw):
            raise CheckError(
                "train.dolphin.cached_views keeps features of every clip, but the shards are read"
                " in sequence; set train.stream_shards or cached_views to 0."
            )
        cues = ()
        views = config.cached_views if config.augment.changes_lips else 0
        features = LipFeatureCache(
            model,
            data.store,
            config.augment,
            seed=run.seed,
            voices=data.draw.table.voices,
            views=views,
        )
    train = TrainMixtures(
        data.store,
        data.draw,
        seed=run.seed,
        cues=cues,
        augment=config.augment,
        paired=config.paired,
        views=views,
    )
    val = ListedMixtures(data.store, data.val, cues=cues)

    task = DolphinTask(
        model,
        config.fit,
        seed=run.seed,
        scale_invariant=config.scale_invariant,
        features=features,
    )
    fit(task, train, val, run=run, directory=directory, name="dolphin")
    export(task, directory, config, family="dolphin")
    return task
