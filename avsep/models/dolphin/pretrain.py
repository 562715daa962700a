"""Pretrain Dolphin's lip encoder: rebuild the lips, commit to codes, resemble the speech."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from avsep.loading.clips import ListedClips, TrainClips
from avsep.models.dolphin.distillation_targets import log_mel_targets
from avsep.models.dolphin.lipcoder import LipCoderConfig, LipCoderPretraining
from avsep.models.dolphin.model import Dolphin, prepare_lips
from avsep.models.dolphin.train_config import LipCoderTrainConfig, network_config
from avsep.models.export import export
from avsep.models.initial import check_same_sizes, described, load_initial
from avsep.shards.store import ShardStore
from avsep.training.config import RunSettings
from avsep.training.fit import fit
from avsep.training.task import Batch, FitTask, Shown


def pretrain_lipcoder(
    config: LipCoderTrainConfig,
    run: RunSettings,
    store: ShardStore,
    directory: Path,
    start: Path | None = None,
) -> LipCoderTask:
    """Pretrain on the training split; only the encoder is exported.

    Args:
        config: sizes, losses, augmentation and fit.
        run: seed, device and so on.
        store: lips and sound.
        directory: folder of the run.
        start: a lip encoder, or a Dolphin that has one, to start from; None for random weights.

    Raises:
        CheckError: the lip encoder at `start` has other sizes than `config` asks for.
    """
    model = LipCoderPretraining(
        LipCoderConfig(
            lip=network_config(config).lip,
            recon_weight=config.recon_weight,
            commit_weight=config.commit_weight,
            distill_weight=config.distill_weight,
            distill=config.distill,
        )
    )
    if start:
        found = load_initial(start, ("lipcoder", "dolphin"))
        encoder = found.lip_encoder if isinstance(found, Dolphin) else found
        check_same_sizes(start, encoder.config, model.config.lip)
        model.encoder.load_state_dict(encoder.state_dict())
    num_frames = config.fit.num_frames
    train = TrainClips(store, seed=run.seed, num_frames=num_frames, augment=config.augment)
    val = ListedClips(store, split="val", num_frames=num_frames)
    task = LipCoderTask(model, config.fit, seed=run.seed)
    fit(task, train, val, run=run, directory=directory, name="lipcoder")
    facts = described(start) if start else {}
    export(task, directory, config, family="lipcoder", part=_encoder, **facts)
    return task


class LipCoderTask(FitTask):
    """The three losses of DP-LipCoder, with the log-mel spectrogram of clean speech as teacher."""

    monitor = "val_score"
    model: LipCoderPretraining
    _codes_used: Tensor

    def loss(self, batch: Batch) -> Tensor:
        """The weighted sum of reconstruction, commitment and distillation."""
        losses = _losses(self.model, batch["lips"], batch["audio"])
        self._codes_used = losses["codes_used"]
        return losses["loss"]

    def step_facts(self) -> dict[str, float]:
        """How many codes the items of the first rank have used, those of the last part alone."""
        return {"codes_used": float(self._codes_used)}

    def score(self, model: nn.Module, batch: Batch) -> Mapping[str, Tensor]:
        """Minus the loss, its parts, and how many codes a clip uses, for each clip alone."""
        rows = [
            _losses(model, batch["lips"][i : i + 1], batch["audio"][i : i + 1])
            for i in range(len(batch["lips"]))
        ]
        names = ("recon", "commit", "distill", "codes_used")
        scores = {name: torch.stack([row[name] for row in rows]) for name in names}
        return {"score": -torch.stack([row["loss"] for row in rows]), **scores}

    def show(self, model: nn.Module, batch: Batch) -> Shown:
        """The lips as the encoder sees them, and as the decoder rebuilds them."""
        assert isinstance(model, LipCoderPretraining)
        lips = prepare_lips(batch["lips"], model.config.lip.image_size)
        seen = model.encoder.preprocess(lips).float()
        rebuilt = model.decoder(model.encoder.encode_paths(lips).total).float()
        return Shown(videos={"lips": _grey(seen, seen), "rebuilt": _grey(rebuilt, seen)})


def _grey(video: Tensor, like: Tensor) -> Tensor:
    """(B, 1, F, H, W) as grey values, (B, F, H, W) uint8, over the range of another video."""
    low, high = like.amin(), like.amax()
    scaled = (video - low) / (high - low).clamp(min=1e-6)
    return (255 * scaled.clamp(0, 1)).round().to(torch.uint8).squeeze(1)


def _losses(model: nn.Module, lips: Tensor, audio: Tensor) -> dict[str, Tensor]:
    assert isinstance(model, LipCoderPretraining)
    prepared = prepare_lips(lips, model.config.lip.image_size)
    return model(prepared, log_mel_targets(audio))


def _encoder(averaged: nn.Module) -> nn.Module:
    assert isinstance(averaged, LipCoderPretraining)
    return averaged.encoder
