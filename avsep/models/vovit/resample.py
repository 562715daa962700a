"""Resampling between 16,000 Hz and the model's 16,384 Hz, on any device, in plain torch."""

from __future__ import annotations

import math
from functools import lru_cache

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from avsep.models.full_precision import full_precision
from avsep.models.vovit.config import MODEL_RATE_HZ
from avsep.schema import RATE_HZ

HALF_WIDTH = 64  # input samples on either side of a filter
KAISER_BETA = 9.0


def to_model_rate(audio: Tensor) -> Tensor:
    """(B, L) at 16,000 Hz to (B, ceil(L 128 / 125)) at 16,384 Hz, float32."""
    return resample(audio, RATE_HZ, MODEL_RATE_HZ)


def from_model_rate(audio: Tensor, num_samples: int) -> Tensor:
    """(B, N) at 16,384 Hz to (B, num_samples) at 16,000 Hz, float32."""
    result = resample(audio, MODEL_RATE_HZ, RATE_HZ)[:, :num_samples]
    return F.pad(result, (0, num_samples - result.shape[1]))


def resample(audio: Tensor, from_hz: int, to_hz: int) -> Tensor:
    """Band-limited resampling by a ratio of small integers, without delay.

    A polyphase windowed-sinc filter, computed as one strided convolution: block b of `up` outputs
    comes from the inputs around sample b * down.

    Args:
        audio: (B, L).
        from_hz: sample rate of the audio.
        to_hz: sample rate of the result.

    Returns:
        (B, ceil(L to_hz / from_hz)) float32.
    """
    common = math.gcd(from_hz, to_hz)
    up, down = to_hz // common, from_hz // common
    # Not -(-a // b): exporters round that towards zero.
    num_out = (audio.shape[-1] * up + down - 1) // down
    num_blocks = (num_out + up - 1) // up
    with full_precision(audio):
        kernels = _kernels(up, down).to(audio.device)
        right = num_blocks * down + HALF_WIDTH - audio.shape[-1]
        padded = F.pad(audio.float(), (HALF_WIDTH, right))
        blocks = F.conv1d(padded[:, None], kernels, stride=down)
    return rearrange(blocks[:, :, :num_blocks], "b phase n -> b (n phase)")[:, :num_out]


@lru_cache(maxsize=4)
def _kernels(up: int, down: int) -> Tensor:
    """The filter of each output phase, (up, 1, down + 2 HALF_WIDTH) float32."""
    phase = torch.arange(up, dtype=torch.float64)[:, None] * down / up
    tap = torch.arange(-HALF_WIDTH, down + HALF_WIDTH, dtype=torch.float64)[None]
    distance = tap - phase
    cutoff = min(1.0, up / down)
    beta = torch.tensor(KAISER_BETA, dtype=torch.float64)
    inside = (1 - (distance / HALF_WIDTH) ** 2).clamp(min=0)
    window = torch.special.i0(beta * inside.sqrt()) / torch.special.i0(beta)
    window = torch.where(distance.abs() <= HALF_WIDTH, window, 0.0)
    kernel = cutoff * torch.sinc(cutoff * distance) * window
    # Normalised so that every phase passes a constant unchanged.
    return (kernel / kernel.sum(1, keepdim=True)).float()[:, None]
