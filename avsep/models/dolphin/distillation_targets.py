"""Targets of the lip encoder's distillation loss: one vector per video frame."""

from __future__ import annotations

import functools
import math

import torch
import torch.nn.functional as F
from torch import Tensor

from avsep.schema import RATE_HZ, SAMPLES_PER_FRAME

MELS = 26
HOP = 160  # samples: 10 ms, four hops per video frame
WINDOW = 400  # samples: 25 ms
_FFT = 512
_FLOOR = 1e-6  # 60 dB below the loudest band


def log_mel_targets(audio: Tensor) -> Tensor:
    """Log-mel spectrogram of clean speech; the four 10 ms frames per video frame are concatenated.

    Each item is normalised to mean 0 per band over time and standard deviation 1 over all bands,
    so that level and microphone do not matter.

    Args:
        audio: (B, 640 F) float32 at 16 kHz.

    Returns:
        (B, F, 104) float32.

    Raises:
        ValueError: the length is not a multiple of 640.
    """
    if audio.ndim != 2 or audio.shape[1] == 0 or audio.shape[1] % SAMPLES_PER_FRAME:
        raise ValueError(
            f"audio must be (B, {SAMPLES_PER_FRAME} F), not {tuple(audio.shape)}: cut it to whole"
            " video frames."
        )
    margin = (WINDOW - HOP) // 2
    windows = F.pad(audio.float(), (margin, margin)).unfold(1, WINDOW, HOP)
    taper = torch.hann_window(WINDOW, device=audio.device)
    power = torch.fft.rfft(windows * taper, n=_FFT).abs().square()
    mel = power @ _mel_filters().to(audio.device)
    loudest = mel.amax(dim=(1, 2), keepdim=True).clamp_min(1e-10)
    mel = torch.log(mel / loudest + _FLOOR)
    mel = mel - mel.mean(1, keepdim=True)
    mel = mel / mel.std(dim=(1, 2), keepdim=True).clamp_min(1e-3)
    return mel.unflatten(1, (-1, SAMPLES_PER_FRAME // HOP)).flatten(2)


@functools.lru_cache(maxsize=1)
def _mel_filters() -> Tensor:
    """Triangular filters, equally wide on the mel scale from 60 Hz to 7600 Hz, (bins, MELS)."""

    def to_mel(hz: float) -> float:
        return 2595 * math.log10(1 + hz / 700)

    edges = torch.linspace(to_mel(60.0), to_mel(7600.0), MELS + 2, dtype=torch.float64)
    edges = 700 * (10 ** (edges / 2595) - 1)
    bins = torch.linspace(0, RATE_HZ / 2, _FFT // 2 + 1, dtype=torch.float64)
    rising = (bins[:, None] - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - bins[:, None]) / (edges[2:] - edges[1:-1])
    return torch.minimum(rising, falling).clamp_min(0).float()
