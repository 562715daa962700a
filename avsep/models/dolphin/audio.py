"""Dolphin's way from the waveform to feature frames and back."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from avsep.models.dolphin.sequence import GlobalNorm

FOURIER_GAIN = 20.0


class AudioEncoder(nn.Module):
    """Learned filters over short overlapping stretches of the waveform, GELU."""

    def __init__(self, channels: int, kernel: int, stride: int) -> None:
        super().__init__()
        self.kernel = kernel
        self.stride = stride
        plain = nn.Conv1d(1, channels, kernel, bias=False)  # for its start values
        self.weight = nn.Parameter(plain.weight.detach().squeeze(1))

    def forward(self, wave: Tensor) -> Tensor:
        """(B, L) to (B, floor((L - kernel) / stride) + 1, C)."""
        return F.gelu(F.linear(wave.unfold(-1, self.kernel, self.stride), self.weight))


def start_as_fourier(encoder: AudioEncoder, decoder: AudioDecoder) -> None:
    """Give encoder and decoder windowed cosines as start values, so that they begin as identity.

    Each basis function comes with both signs, since the encoder's GELU passes one of them and
    GELU(x) - GELU(-x) = x. With a mask of one between them the sound goes through unchanged (but
    for the first and last `kernel - stride` samples), so a short training starts from the mixture
    and need not learn to hear first. Needs `2 kernel` channels and `kernel = 2 stride`.
    """
    kernel = encoder.kernel
    time = torch.arange(kernel) + 0.5
    rate = torch.arange(kernel // 2) + 0.5
    angle = 2 * math.pi * rate[:, None] * time / kernel
    window = torch.sin(math.pi * time / kernel)  # its square sums to one at half overlap
    basis = torch.cat([torch.cos(angle), torch.sin(angle)]) * window * math.sqrt(2 / kernel)
    both = torch.cat([basis, -basis])
    with torch.no_grad():
        # Speech of usual level then reaches the bend of the GELU.
        encoder.weight.copy_(both * FOURIER_GAIN)
        decoder.weight.copy_(both / FOURIER_GAIN)


class FeatureProjection(nn.Module):
    """Norm over channels and time, then a linear map to the separator's channels."""

    def __init__(self, source: int, target: int) -> None:
        super().__init__()
        self.norm = GlobalNorm(source, eps=1e-8)
        self.linear = nn.Linear(source, target, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, source) to (B, T, target)."""
        return self.linear(self.norm(x))


class OutputLayer(nn.Module):
    """From separator channels to decoder channels, frame by frame, through a gate."""

    def __init__(self, source: int, target: int) -> None:
        super().__init__()
        self.grow = nn.Linear(source, 2 * target)
        self.out = nn.Linear(target, target)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, source) to (B, T, target)."""
        return self.out(F.glu(self.grow(x), dim=-1))


class AudioDecoder(nn.Module):
    """Learned short waveforms, overlapped and added (a transposed convolution without bias)."""

    def __init__(self, channels: int, kernel: int, stride: int) -> None:
        super().__init__()
        self.kernel = kernel
        self.stride = stride
        plain = nn.ConvTranspose1d(channels, 1, kernel, bias=False)  # for its start values
        self.weight = nn.Parameter(plain.weight.detach().squeeze(1))

    def forward(self, x: Tensor, length: int) -> Tensor:
        """(B, T, C) to (B, length), at most stride - 1 samples more than T frames cover.

        Those last samples come from a copy of the last frame that is used nowhere else, so the
        samples before are what the frames alone give.
        """
        overlaps = self.kernel // self.stride
        pieces = F.linear(x, self.weight.t()).unflatten(-1, (overlaps, self.stride))
        pieces = pieces.float()
        shifted = (F.pad(pieces[:, :, i], (0, 0, i, overlaps - 1 - i)) for i in range(overlaps))
        wave = sum(shifted, start=torch.zeros((), device=x.device)).flatten(1)
        missing = length - wave.shape[1]
        if missing <= 0:
            return wave
        return torch.cat([wave, pieces[:, -1, -1, :missing]], dim=1)
