"""Dolphin as a separator of windows."""

from __future__ import annotations

from collections.abc import Sequence

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
        model, num_samples = self.model, mixture.shape[1]
        lips = prepare_lips(self.stacked(cues, "lips"), model.config.lip.image_size)
        frames = slice(before, before + -(-num_samples // SAMPLES_PER_FRAME))
        too_short = max(model.config.kernel - num_samples, 0)
        estimate = model.separate_features(
            F.pad(mixture, (0, too_short)), model.encode_lips(lips)[:, frames]
        )
        return estimate[:, 0, :num_samples]
