"""What goes into a VoViT model: sample formats, levels, lengths.

Shapes: B items, N samples at 16,384 Hz, F landmark frames at 25 a second.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor

from avsep.models.vovit.config import FPS

Peak = Literal["item", "batch"]
MAX_LENGTHS_APART = 5  # frames by which sound and landmarks may differ in length


class Clips(NamedTuple):
    """What a training step works on.

    Attributes:
        mixture: (B, N) peak-normalised, exactly one clip long.
        target: (B, N) the wanted voice under the same factor.
        points: (B, F, 68, 2) registered landmarks.
    """

    mixture: Tensor
    target: Tensor
    points: Tensor


def as_float(audio: Tensor) -> Tensor:
    """Float32 samples; integers are scaled to -1..1."""
    if audio.is_floating_point():
        return audio.float()
    return audio.float() / 2 ** (torch.iinfo(audio.dtype).bits - 1)


def peak_of(audio_BN: Tensor, peak: Peak) -> Tensor:
    """What to divide by, (B, 1): the largest magnitude, or 1 for silence."""
    largest = audio_BN.abs().amax(dim=1, keepdim=True)
    if peak == "batch":
        largest = largest.amax(dim=0, keepdim=True).expand_as(largest)
    elif peak != "item":
        raise ValueError(f"peak is {peak!r}; it may be 'item' or 'batch'.")
    return torch.where(largest > 0, largest, 1.0)


def check_audio(audio_BN: Tensor, num_faces: int) -> None:
    """Refuse sound of another layout, empty sound, and sound that is not finite.

    Raises:
        ValueError: says which.
    """
    shape = tuple(audio_BN.shape)
    if audio_BN.ndim != 2 or shape[0] != num_faces:
        raise ValueError(
            f"the mixture must be ({num_faces}, samples), one for each face, not {shape}."
        )
    if shape[1] == 0:
        raise ValueError("the mixture is empty; it needs at least one sample.")
    if not bool(audio_BN.isfinite().all()):
        raise ValueError("the mixture holds NaN or infinite values; drop or repair the clip.")


def check_lengths(sound_frames: float, num_frames: int) -> None:
    """Refuse sound and landmarks of different lengths, both in landmark frames.

    Raises:
        ValueError: more than 5 frames apart, which no rounding explains.
    """
    if abs(sound_frames - num_frames) > MAX_LENGTHS_APART:
        raise ValueError(
            f"the sound lasts {sound_frames:.1f} frames at {FPS} a second, the landmarks"
            f" {num_frames}: check the sample rate and the frame rate."
        )
