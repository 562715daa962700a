"""Train VoViT: its first stage, or the enhancer on top of a trained first stage."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from avsep.errors import CheckError, UsageError
from avsep.loading.mixtures import ListedMixtures, Mixtures, TrainMixtures
from avsep.models.export import export
from avsep.models.initial import check_same_sizes, described, load_initial
from avsep.models.vovit.model import VoViT
from avsep.models.vovit.task import VoViTTask, training_mean_face
from avsep.models.vovit.train_config import EnhancerTrainConfig, VoViTTrainConfig, network_config
from avsep.schema import FPS
from avsep.settings import with_overrides
from avsep.training.config import RunSettings
from avsep.training.fit import fit

# The variant and the enhancer are not the first stage's.
NOT_OF_STAGE1 = ("variant", "fusion.dropout")


def train_stage1(
    config: VoViTTrainConfig,
    run: RunSettings,
    data: Mixtures,
    directory: Path,
    start: Path | None = None,
) -> VoViTTask:
    """Train the first stage; its mean face is that of the training split, or of `start`.

    Args:
        config: sizes, augmentation and fit.
        run: seed, device and so on.
        data: mixtures of 2 s.
        directory: folder of the run.
        start: a VoViT whose first stage is trained on; None for random weights.

    Raises:
        CheckError: the model at `start` has other sizes than `config` asks for, or no mean face.
    """
    model = VoViT(network_config(config))
    if start is None:
        model.set_mean_face(training_mean_face(data.store))
    else:
        found = _load_speech(start)
        wanted = dataclasses.replace(model.config, enhancer=found.config.enhancer)
        check_same_sizes(start, found.config, wanted, may_differ=NOT_OF_STAGE1)
        model.network.stage1.load_state_dict(found.network.stage1.state_dict())
        model.set_mean_face(found.mean_face)
    return _train(model, config, run, data, directory, "vovit-s1", start)


def train_enhancer(
    config: EnhancerTrainConfig, run: RunSettings, data: Mixtures, directory: Path, start: Path
) -> VoViTTask:
    """Train the enhancer on a trained first stage, which stays as it is.

    Args:
        config: augmentation and fit.
        run: seed, device and so on.
        data: mixtures of 2 s.
        directory: folder of the run.
        start: the trained `vovit-s1`, or, by `config.init`, a VoViT of two stages, whose enhancer
            is trained on.

    Raises:
        CheckError: the enhancer at `start` has other sizes than the overrides ask for, or it has no
            mean face.
    """
    found = _load_speech(start)
    enhancer = with_overrides(found.config.enhancer, config.overrides, "train.vovit.overrides")
    if found.config.variant == "speech":
        check_same_sizes(start, found.config.enhancer, enhancer)
        model = found.freeze_stage1().train()
    else:
        model = VoViT.on_stage1(found, enhancer)
    return _train(model, config, run, data, directory, "vovit", start if config.init else None)


def _load_speech(start: Path) -> VoViT:
    """A VoViT for speech, which has the mean face that its weights were trained with."""
    found = load_initial(start, ("vovit",))
    assert isinstance(found, VoViT)
    if not found.config.registers:
        raise CheckError(f"init is {start}, which separates singing; give a VoViT for speech.")
    if not bool(found.mean_face.isfinite().all()):
        raise CheckError(
            f"init is {start}, which has no mean face; import it again with --mean-face."
        )
    return found


def _train(
    model: VoViT,
    config: VoViTTrainConfig | EnhancerTrainConfig,
    run: RunSettings,
    data: Mixtures,
    directory: Path,
    name: str,
    init: Path | None,
) -> VoViTTask:
    frames = model.config.spectrum.clip_video_frames
    if config.fit.num_frames != frames:
        raise UsageError(
            f"train.{name}.fit.seconds is {config.fit.seconds:g}; the network separates clips of"
            f" {frames / FPS:g} s, so it must be that."
        )
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
    samples = ListedMixtures(data.store, data.val[:2], cues=("landmarks", "lips"))
    fit(task, train, val, run=run, directory=directory, name=name, samples=samples)
    export(
        task,
        directory,
        config,
        family="vovit",
        mean_face=f"of {'the model it started from' if init else 'its own training landmarks'};"
        " scale matters",
        **(described(init) if init else {}),
    )
    return task
