"""How a model separates windows of a recording; each family has a subclass."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import torch
from torch import Tensor

from avsep.schema import Cues

AT_ONCE_ON_GPU = 16


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

    @property
    def at_once(self) -> int:
        """Voices per call that suit the device: on a CPU, several take no less time than one."""
        return 1 if next(self.model.parameters()).device.type == "cpu" else AT_ONCE_ON_GPU

    @torch.inference_mode()
    def __call__(
        self, sound: np.ndarray, cues: Sequence[Cues | Tensor], before: int = 0
    ) -> np.ndarray:
        """Estimate the voices of S faces.

        Args:
            sound: (n,) float32 at 16 kHz, of all faces; or (S, n), one per face.
            cues: cues of each face, without batch axis, with up to `context` frames more on each
                side; or what `features` gives for the frames of the window alone.
            before: number of frames of the cues before the window.

        Returns:
            (S, n) float32, at the level of the sound.

        Raises:
            ValueError: the sound holds values that are not finite.
        """
        if not np.isfinite(sound).all():  # a GPU would turn them into silence, see below
            raise ValueError("the sound holds NaN or infinite values; repair the recording.")
        sounds = np.broadcast_to(sound, (len(cues), sound.shape[-1]))
        try:
            return self._voices(sounds, cues, before)
        except torch.OutOfMemoryError:
            if len(cues) == 1:
                raise
        half = len(cues) // 2
        parts = (self(sounds[part], cues[part], before) for part in (np.s_[:half], np.s_[half:]))
        return np.concatenate(list(parts))

    def _voices(self, sounds: np.ndarray, cues: Sequence[Any], before: int) -> np.ndarray:
        mixture = self._on_device(torch.from_numpy(np.array(sounds)))
        with self._cast:
            if isinstance(cues[0], Tensor):
                estimate = self.separate_features(mixture, torch.stack(tuple(cues)))
            else:
                estimate = self.separate(mixture, cues, before)
        # A window that overflows in a short number format must not become noise at full scale.
        return torch.nan_to_num(estimate.float(), nan=0.0, posinf=0.0, neginf=0.0).cpu().numpy()

    def separate(self, mixture: Tensor, cues: Sequence[Cues], before: int) -> Tensor:
        """The voices (S, n) of S faces in the mixtures (S, n)."""
        raise NotImplementedError

    def features(self, cues: Cues) -> Tensor | None:
        """What the model computes of a face alone, (F, D) for its F frames.

        The features of a frame depend on no more than `context` frames on either side, so each
        frame is computed once, whatever windows it is in. None if the model cannot do this.
        """
        return None

    def separate_features(self, mixture: Tensor, features: Tensor) -> Tensor:
        """Like `separate`, from the features (S, F, D) of the frames of the window."""
        raise NotImplementedError

    def stacked(self, cues: Sequence[Cues], name: str, frames: slice = slice(None)) -> Tensor:
        """One cue of all faces on the model's device, (S, F, ...)."""
        return self._on_device(torch.from_numpy(np.stack([getattr(c, name)[frames] for c in cues])))

    def _on_device(self, tensor: Tensor) -> Tensor:
        return tensor.to(next(self.model.parameters()).device)
