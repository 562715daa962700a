"""Training of Dolphin: the separator on top of a pretrained lip encoder."""

from __future__ import annotations

from torch import Tensor, nn

from avsep.models.dolphin.lip_features import LipFeatureCache
from avsep.models.dolphin.model import Dolphin, prepare_lips
from avsep.training.config import FitSettings
from avsep.training.losses import negative_si_sdr, negative_snr
from avsep.training.separation_task import SeparationTask
from avsep.training.task import Batch


class DolphinTask(SeparationTask):
    """Training by negative SNR, which keeps the level of the voice, as in IIANet.

    A lip encoder that is frozen, as in the paper, stays in eval mode.
    """

    model: Dolphin

    def __init__(
        self,
        model: Dolphin,
        settings: FitSettings,
        *,
        seed: int,
        scale_invariant: bool = False,
        features: LipFeatureCache | None = None,
    ) -> None:
        """Prepare the training.

        Args:
            model: a Dolphin with a pretrained lip encoder, frozen or not.
            settings: how the weights are fitted.
            seed: seed of the dropout.
            scale_invariant: use negative SI-SDR as loss, which leaves the level open.
            features: lip features of whole clips; items are then looked up by key and carry no
                lips.
        """
        super().__init__(model, settings, seed=seed)
        self._loss = negative_si_sdr if scale_invariant else negative_snr
        self._features = features

    def on_fit_start(self) -> None:
        """Share the lip features out over the ranks if each would compute nearly all of them."""
        super().on_fit_start()
        if self._features is not None:
            trainer = self.trainer
            self._features.fill_together(
                visits=(self.settings.steps - self.steps_done) * self.settings.batch,
                rank=trainer.global_rank,
                num_ranks=trainer.world_size,
                add_up=lambda part: trainer.strategy.reduce(part.to(self.device), reduce_op="sum"),
            )

    def weights_changed(self, model: nn.Module) -> None:
        """Choose the filters of the heat layers for the new diffusivities."""
        assert isinstance(model, Dolphin)
        model.plan_heat()

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
        features = self._features.at(batch["key"], batch["positions"], batch["view"])
        return model.separate_features(batch["mixture"], features.to(self.device)).squeeze(1)
