"""What the trainings of separators share: the scores of an estimate on validation mixtures."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from avsep.training.losses import si_sdr
from avsep.training.task import Batch, FitTask, Shown


class SeparationTask(FitTask):
    """A separator in training. Subclasses give `loss` and `estimate`."""

    monitor = "val_si_sdri"

    def estimate(self, model: nn.Module, batch: Batch) -> Tensor:
        """The target voice (batch, samples) at 16 kHz, estimated with the cues of the batch."""
        raise NotImplementedError

    def score(self, model: nn.Module, batch: Batch) -> Mapping[str, Tensor]:
        """SI-SDR of the estimate, its improvement over the mixture, and the use made of the video.

        `wrong_si_sdri` compares the same estimate with the other voice. Both voices of a listed
        mixture are items, so its mean is the improvement that the model reaches when it is shown
        the other speaker's video: far below zero for a model that uses it.
        """
        estimate = self.estimate(model, batch).float()
        mixture, target, other = batch["mixture"], batch["target"], batch["other"]
        reached = si_sdr(estimate, target)
        return {
            "si_sdr": reached,
            "si_sdri": reached - si_sdr(mixture, target),
            "wrong_si_sdri": si_sdr(estimate, other) - si_sdr(mixture, other),
        }

    def show(self, model: nn.Module, batch: Batch) -> Shown:
        """Mixture, target and estimate, and the lips of the wanted voice if the items have any."""
        sounds = {
            "mixture": batch["mixture"],
            "target": batch["target"],
            "estimate": self.estimate(model, batch),
        }
        return Shown(sounds, {"lips": batch["lips"]} if "lips" in batch else {})
