"""Inputs of a VoViT model: sample formats, levels and lengths.

Shapes: B items, N samples at 16,384 Hz, F landmark frames at 25 per second.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor

from avsep.schema import FPS

Peak = Literal["item", "batch"]
MAX_LENGTH_DIFFERENCE = 5  # frames by which sound and landmarks may differ in length


class Clips(NamedTuple):
    """Inputs of a training step.

    Attributes:
        mixture: (B, N) peak-normalised mixtures, exactly one clip long.
        target: (B, N) target voices, scaled by the same factors.
        points: (B, F, 68, 2) registered landmarks, x and y in pixels.
    """

    mixture: Tensor
    target: Tensor
    points: Tensor


def as_float(audio: Tensor) -> Tensor:
    """Float32 samples; signed integers are scaled to -1..1.

    Raises:
        ValueError: unsigned integers, or numbers that are not samples.
    """
    if audio.dtype == torch.get_default_dtype():
        return audio
    if audio.dtype not in (torch.int16, torch.int32):
        raise ValueError(
            f"the mixture is {str(audio.dtype).removeprefix('torch.')}; give float32 in -1..1, or"
            " int16 or int32 samples."
        )
    return audio.float() / 2 ** (torch.iinfo(audio.dtype).bits - 1)


def peak_of(audio_BN: Tensor, peak: Peak) -> Tensor:
    """The peak (B, 1) of each item, or of the whole batch; 1 for silence."""
    largest = audio_BN.abs().amax(dim=1, keepdim=True)
    if peak == "batch":
        largest = largest.amax(dim=0, keepdim=True).expand_as(largest)
    elif peak != "item":
        raise ValueError(f"peak is {peak!r}; it may be 'item' or 'batch'.")
    return torch.where(largest > 0, largest, 1.0)


def check_audio(audio_BN: Tensor, num_faces: int) -> None:
    """Check the layout of the audio.

    Raises:
        ValueError: the audio is not (num_faces, samples), is empty or is not finite.
    """
    shape = tuple(audio_BN.shape)
    if num_faces == 0:
        raise ValueError("there is nothing to separate; give at least one mixture and one face.")
    if audio_BN.ndim != 2 or shape[0] != num_faces:
        raise ValueError(f"the mixture must be ({num_faces}, samples), one per face, not {shape}.")
    if shape[1] == 0:
        raise ValueError("the mixture is empty; it needs at least one sample.")
    if not bool(audio_BN.isfinite().all()):
        raise ValueError("the mixture holds NaN or infinite values; drop or repair the clip.")


def check_lengths(sound_frames: float, num_frames: int) -> None:
    """Check that sound and landmarks, both in landmark frames, have about the same length.

    Raises:
        ValueError: the lengths differ by more than 5 frames, too much for rounding.
    """
    if abs(sound_frames - num_frames) > MAX_LENGTH_DIFFERENCE:
        raise ValueError(
            f"the sound lasts {sound_frames:.1f} frames at {FPS} per second, but there are"
            f" {num_frames} frames of landmarks; check the sample rate and the frame rate."
        )
