"""Train Dolphin's separator on a pretrained lip encoder, or from the weights of another Dolphin."""

from __future__ import annotations

from pathlib import Path

from avsep.errors import CheckError
from avsep.loading.mixtures import Cue, ListedMixtures, Mixtures, TrainMixtures
from avsep.loading.streaming import StreamDraw
from avsep.models.dolphin.lip_encoder import LipEncoder
from avsep.models.dolphin.lip_features import LipFeatureCache
from avsep.models.dolphin.model import Dolphin
from avsep.models.dolphin.task import DolphinTask
from avsep.models.dolphin.train_config import DolphinTrainConfig, network_config
from avsep.models.export import export
from avsep.models.initial import check_same_sizes, described, load_initial
from avsep.training.config import RunSettings
from avsep.training.fit import fit

# Dropout and how heat is computed; and what the weights begin with, which are loaded.
MAY_DIFFER = ("dropout", "video_dropout", "heat", "layer_scale", "front_end")


def train_dolphin(
    config: DolphinTrainConfig, run: RunSettings, data: Mixtures, directory: Path, start: Path
) -> DolphinTask:
    """Train, and leave the model in the folder of the run; see `fit` for interruptions.

    Args:
        config: sizes, loss, augmentation and fit.
        run: seed, device and so on.
        data: mixtures of `config.fit.seconds`.
        directory: folder of the run.
        start: the pretrained lip encoder; with `config.init`, the model that it names.

    Raises:
        CheckError: the model at `start` has other sizes than `config` asks for, or the data are
            read in sequence and features are to be kept.
    """
    model = initial_model(config, start)
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
    samples = ListedMixtures(data.store, data.val[:2], cues=("lips",))
    fit(task, train, val, run=run, directory=directory, name="dolphin", samples=samples)
    export(task, directory, config, family="dolphin", **(described(start) if config.init else {}))
    return task


def initial_model(config: DolphinTrainConfig, start: Path) -> Dolphin:
    """The network with the weights that its training starts from; see `train_dolphin`."""
    families = ("dolphin", "lipcoder") if config.init else ("lipcoder",)
    found = load_initial(start, families)  # first: it draws random numbers too
    model = Dolphin(network_config(config))
    if isinstance(found, Dolphin) and config.init_part == "all":
        check_same_sizes(start, found.config, model.config, may_differ=MAY_DIFFER)
        model.load_state_dict(found.state_dict())
        return model
    encoder = found.lip_encoder if isinstance(found, Dolphin) else found
    assert isinstance(encoder, LipEncoder)
    if encoder.config != model.config.lip:
        raise CheckError(
            f"{start} holds a lip encoder of other sizes than train.dolphin asks for; give"
            " pretrain the same size and overrides and run it again."
        )
    model.lip_encoder.load_state_dict(encoder.state_dict())
    return model
