"""Training of Dolphin: the separator on top of a pretrained lip encoder."""

from __future__ import annotations

from torch import Tensor, nn

from avsep.models.dolphin import Dolphin, prepare_lips
from avsep.training.config import FitSettings
from avsep.training.lip_features import LipFeatureCache
from avsep.training.losses import negative_si_sdr, negative_snr
from avsep.training.precision import Precision
from avsep.training.separation_task import SeparationTask
from avsep.training.task import Batch


class DolphinTask(SeparationTask):
    """Negative SNR, which keeps the level of the voice (IIANet's recipe), by stored lips.

    The lip encoder is frozen, as in the paper, and then stays in eval mode; `train_lip_encoder`
    fits it along.
    """

    model: Dolphin

    def __init__(
        self,
        model: Dolphin,
        settings: FitSettings,
        *,
        seed: int,
        precision: Precision,
        level_free: bool = False,
        train_lip_encoder: bool = False,
        features: LipFeatureCache | None = None,
    ) -> None:
        """Prepare the training.

        Args:
            model: with a pretrained lip encoder.
            settings: of the fit.
            seed: of dropout.
            precision: of the forward pass.
            level_free: take negative SI-SDR as loss, which leaves the level open.
            train_lip_encoder: do not freeze it.
            features: features of whole clips; items are then looked up by key and carry no lips.
        """
        if not train_lip_encoder:
            model.freeze_lip_encoder()
        super().__init__(model, settings, seed=seed, precision=precision)
        self._loss = negative_si_sdr if level_free else negative_snr
        self._features = features

    def on_fit_start(self) -> None:
        """Compute the lip features together, where the run would compute nearly all of them."""
        super().on_fit_start()
        if self._features is not None:
            trainer = self.trainer
            self._features.fill_together(
                visits=(self.settings.steps - self.steps_done) * self.settings.batch,
                rank=trainer.global_rank,
                num_ranks=trainer.world_size,
                add_up=lambda part: trainer.strategy.reduce(part.to(self.device), reduce_op="sum"),
            )

    def loss(self, batch: Batch) -> Tensor:
        """Negative SNR (or SI-SDR) of the estimate, in dB."""
        return self._loss(self._separate(self.model, batch), batch["target"])

    def estimate(self, model: nn.Module, batch: Batch) -> Tensor:
        """(batch, samples)."""
        assert isinstance(model, Dolphin)
        return self._separate(model, batch)

    def _separate(self, model: Dolphin, batch: Batch) -> Tensor:
        if "lips" in batch:
            size = self.model.config.lip.image_size
            lips = prepare_lips(batch["lips"], size)
            return model(batch["mixture"], lips).squeeze(1)
        assert self._features is not None
        features = self._features.at(batch["key"], batch["places"], batch["look"])
        return model.separate_features(batch["mixture"], features.to(self.device)).squeeze(1)
