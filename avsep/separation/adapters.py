"""Both model families behind one call: a stretch of sound and the faces in it to their voices."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from avsep.errors import CheckError, UsageError
from avsep.models.dolphin.chunked import LIP_CONTEXT
from avsep.models.dolphin.model import prepare_lips
from avsep.schema import SAMPLES_PER_FRAME, Cues
from avsep.separation.config import PrecisionName

VARIANTS = {"vovit": "speech", "vovit-s1": "speech-s1"}


class ModelAdapter(Protocol):
    """A separator of stretches.

    Attributes:
        context: frames on either side of a stretch that it likes to see.
    """

    context: int

    def __call__(self, sound: np.ndarray, cues: Sequence[Cues], before: int) -> np.ndarray:
        """Estimate the voices of S faces.

        Args:
            sound: (n,) float32 at 16 kHz.
            cues: of each face, without batch axis, with up to `context` frames more on each side.
            before: frames of the cues before the stretch.

        Returns:
            (S, n) float32, at the level of the sound.
        """
        ...


class DolphinAdapter:
    """Dolphin: the lip encoder sees some frames beyond the stretch."""

    context = LIP_CONTEXT

    def __init__(self, model: Any, cast: AbstractContextManager[Any]) -> None:
        self._model, self._cast = model, cast

    @torch.inference_mode()
    def __call__(self, sound: np.ndarray, cues: Sequence[Cues], before: int) -> np.ndarray:
        """See `ModelAdapter`."""
        model, device = self._model, _device(self._model)
        frames = -(-len(sound) // SAMPLES_PER_FRAME)
        lips = torch.from_numpy(np.stack([c.lips for c in cues])).to(device)
        part = torch.from_numpy(sound)[None].expand(len(cues), -1).to(device)
        short = max(model.config.kernel - part.shape[1], 0)
        with self._cast:
            features = model.encode_lips(prepare_lips(lips, model.config.lip.image_size))
            estimate = model.separate_features(
                F.pad(part, (0, short)), features[:, before : before + frames]
            )
        return _numbers(estimate[:, 0, : len(sound)])


class VoViTAdapter:
    """VoViT: cuts and joins its own clips of two seconds inside a stretch."""

    context = 0

    def __init__(self, model: Any, cast: AbstractContextManager[Any]) -> None:
        self._model, self._cast = model, cast

    @torch.inference_mode()
    def __call__(self, sound: np.ndarray, cues: Sequence[Cues], before: int) -> np.ndarray:
        """See `ModelAdapter`."""
        device = _device(self._model)
        frames = slice(before, before + -(-len(sound) // SAMPLES_PER_FRAME))

        def batch(name: str) -> Tensor:
            return torch.from_numpy(np.stack([getattr(c, name)[frames] for c in cues])).to(device)

        shown = Cues(lips=None, landmarks=batch("landmarks"), valid=batch("valid"))
        mixture = torch.from_numpy(sound)[None].repeat(len(cues), 1).to(device)
        with self._cast:
            return _numbers(self._model.estimate(mixture, shown))


def adapter_for(model: nn.Module, precision: PrecisionName = "fp32") -> ModelAdapter:
    """The adapter of a loaded model (see `avsep.models.checkpoint.load`).

    Raises:
        CheckError: a model that cannot separate speech by these cues.
        UsageError: fp16 without a GPU.
    """
    card: dict[str, Any] = model.card  # type: ignore[assignment]
    device = _device(model).type
    if precision == "fp16" and device != "cuda":
        raise UsageError(f"precision fp16 needs a GPU, not {device}; bf16 runs on both.")
    dtype = torch.bfloat16 if precision == "bf16" else torch.float16
    cast: AbstractContextManager[Any] = (
        nullcontext() if precision == "fp32" else torch.autocast(device, dtype=dtype)
    )
    model.eval()
    if card["family"] == "dolphin":
        return DolphinAdapter(model, cast)
    if card["family"] == "vovit" and card["config"]["variant"] in VARIANTS.values():
        return VoViTAdapter(model, cast)
    raise CheckError(f"a model of the kind {model_name(card)} does not separate talkers.")


def model_name(card: dict[str, Any]) -> str:
    """What the command line calls a model: dolphin, vovit, vovit-s1."""
    variant = card["config"].get("variant") if card["family"] == "vovit" else None
    names = {value: name for name, value in VARIANTS.items()}
    return card["family"] if variant is None else names.get(variant, f"vovit ({variant})")


def _device(model: nn.Module) -> torch.device:
    return next(model.parameters()).device


def _numbers(estimate: Tensor) -> np.ndarray:
    # A stretch that overflows in a short number format must not become noise at full scale.
    return torch.nan_to_num(estimate.float(), nan=0.0, posinf=0.0, neginf=0.0).cpu().numpy()
