"""Pretraining of Dolphin's lip encoder: rebuild the lips, commit to codes, resemble the speech."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from avsep.models.dolphin import LipCoderPretraining, log_mel_targets, prepare_lips
from avsep.training.task import Batch, FitTask


class LipCoderTask(FitTask):
    """The three losses of DP-LipCoder, with the log-mel spectrogram of clean speech as teacher."""

    monitor = "val_score"
    model: LipCoderPretraining

    def loss(self, batch: Batch) -> Tensor:
        """The weighted sum of reconstruction, commitment and distillation."""
        return _losses(self.model, batch["lips"], batch["audio"])["loss"]

    def score(self, model: nn.Module, batch: Batch) -> Mapping[str, Tensor]:
        """Minus the loss, its parts, and how many codes a clip uses; each clip by itself."""
        rows = [
            _losses(model, batch["lips"][i : i + 1], batch["audio"][i : i + 1])
            for i in range(len(batch["lips"]))
        ]
        names = ("recon", "commit", "distill", "codes_used")
        scores = {name: torch.stack([row[name] for row in rows]) for name in names}
        return {"score": -torch.stack([row["loss"] for row in rows]), **scores}


def _losses(model: nn.Module, lips: Tensor, audio: Tensor) -> dict[str, Tensor]:
    assert isinstance(model, LipCoderPretraining)
    prepared = prepare_lips(lips, model.config.lip.image_size)
    return model(prepared, log_mel_targets(audio))
