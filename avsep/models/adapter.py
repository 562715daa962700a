"""How a model separates one window of a recording; each family has a subclass."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import torch
from torch import Tensor

from avsep.schema import Cues


class ModelAdapter:
    """A separator of windows. Subclasses implement `separate`.

    Attributes:
        context: frames on either side of a window that the model also wants to see.
        model: the network, in eval mode.
    """

    context = 0

    def __init__(self, model: Any, cast: AbstractContextManager[Any]) -> None:
        """Wrap a model; `cast` is the autocast context of its forward pass."""
        self.model, self._cast = model, cast

    @torch.inference_mode()
    def __call__(self, sound: np.ndarray, cues: Sequence[Cues], before: int) -> np.ndarray:
        """Estimate the voices of S faces.

        Args:
            sound: (n,) float32 at 16 kHz.
            cues: cues of each face, without batch axis, with up to `context` frames more on each
                side.
            before: number of frames of the cues before the window.

        Returns:
            (S, n) float32, at the level of the sound.
        """
        mixture = self._on_device(torch.from_numpy(sound)[None].repeat(len(cues), 1))
        with self._cast:
            estimate = self.separate(mixture, cues, before)
        # A window that overflows in a short number format must not become noise at full scale.
        return torch.nan_to_num(estimate.float(), nan=0.0, posinf=0.0, neginf=0.0).cpu().numpy()

    def separate(self, mixture: Tensor, cues: Sequence[Cues], before: int) -> Tensor:
        """The voices (S, n); `mixture` (S, n) holds the same sound for each face."""
        raise NotImplementedError

    def stacked(self, cues: Sequence[Cues], name: str, frames: slice = slice(None)) -> Tensor:
        """One cue of all faces on the model's device, (S, F, ...)."""
        return self._on_device(torch.from_numpy(np.stack([getattr(c, name)[frames] for c in cues])))

    def _on_device(self, tensor: Tensor) -> Tensor:
        return tensor.to(next(self.model.parameters()).device)
