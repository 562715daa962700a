"""Dolphin as a separator of windows."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from avsep.models.adapter import ModelAdapter
from avsep.models.dolphin.model import LIP_CONTEXT, prepare_lips
from avsep.schema import SAMPLES_PER_FRAME, Cues


class DolphinAdapter(ModelAdapter):
    """The lip encoder sees some frames beyond the window."""

    context = LIP_CONTEXT

    def separate(self, mixture: Tensor, cues: Sequence[Cues], before: int) -> Tensor:
        """See `ModelAdapter`."""
        frames = slice(before, before + -(-mixture.shape[1] // SAMPLES_PER_FRAME))
        return self.separate_features(mixture, self._encoded(cues)[:, frames])

    @torch.inference_mode()
    def features(self, cues: Cues) -> Tensor | None:
        """See `ModelAdapter`; None where the mean picture of the window counts too."""
        if self.model.config.lip.motion_only:
            return None
        with self._cast:
            return self._encoded([cues])[0]

    def separate_features(self, mixture: Tensor, features: Tensor) -> Tensor:
        """See `ModelAdapter`."""
        num_samples = mixture.shape[1]
        too_short = max(self.model.config.kernel - num_samples, 0)
        estimate = self.model.separate_features(F.pad(mixture, (0, too_short)), features)
        return estimate[:, 0, :num_samples]

    def _encoded(self, cues: Sequence[Cues]) -> Tensor:
        lips = prepare_lips(self.stacked(cues, "lips"), self.model.config.lip.image_size)
        return self.model.encode_lips(lips)
