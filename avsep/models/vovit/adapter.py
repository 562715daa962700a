"""VoViT as a separator of windows."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from avsep.models.adapter import ModelAdapter
from avsep.schema import SAMPLES_PER_FRAME, Cues


class VoViTAdapter(ModelAdapter):
    """The model cuts a window into its own clips of two seconds and joins them."""

    def separate(self, mixture: Tensor, cues: Sequence[Cues], before: int) -> Tensor:
        """See `ModelAdapter`."""
        frames = slice(before, before + -(-mixture.shape[1] // SAMPLES_PER_FRAME))
        landmarks, valid = (self.stacked(cues, name, frames) for name in ("landmarks", "valid"))
        return self.model.estimate(mixture, Cues(lips=None, landmarks=landmarks, valid=valid))
