"""Dolphin's learned audio encoder and decoder: from the waveform to frames and back."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from avsep.models.cpu import Linear, linear, worthwhile
from avsep.models.dolphin.sequence import GlobalNorm
from avsep.models.dolphin.tiles import by_tiles

FOURIER_GAIN = 20.0


class AudioEncoder(nn.Module):
    """Learned filters over short overlapping windows of the waveform, then GELU."""

    def __init__(self, channels: int, kernel: int, stride: int) -> None:
        super().__init__()
        self.kernel = kernel
        self.stride = stride
        plain = nn.Conv1d(1, channels, kernel, bias=False)  # only for its initial values
        self.weight = nn.Parameter(plain.weight.detach().squeeze(1))

    def forward(self, wave: Tensor) -> Tensor:
        """(B, L) to (B, floor((L - kernel) / stride) + 1, C)."""
        windows = wave.unfold(-1, self.kernel, self.stride)
        if worthwhile(windows):
            return by_tiles(self.compute, 0, windows)
        return self.compute(windows)

    def compute(self, windows: Tensor) -> Tensor:
        """(B, T, kernel) to (B, T, C)."""
        return F.gelu(linear(windows, self.weight, None))


def init_fourier(encoder: AudioEncoder, decoder: AudioDecoder) -> None:
    """Initialise encoder and decoder with windowed cosines, so that together they are the identity.

    Each basis function comes with both signs, because the encoder's GELU passes one of them and
    GELU(x) - GELU(-x) = x. With a mask of one between them the sound passes unchanged (except for
    the first and last `kernel - stride` samples). A short training then starts from the mixture
    and does not have to learn a filter bank first. Needs `audio_channels = 2 kernel` and
    `kernel = 2 stride`.
    """
    kernel = encoder.kernel
    time = torch.arange(kernel) + 0.5
    rate = torch.arange(kernel // 2) + 0.5
    angle = 2 * math.pi * rate[:, None] * time / kernel
    window = torch.sin(math.pi * time / kernel)  # its square sums to one at half overlap
    basis = torch.cat([torch.cos(angle), torch.sin(angle)]) * window * math.sqrt(2 / kernel)
    both_signs = torch.cat([basis, -basis])
    with torch.no_grad():
        # With this gain, speech at its usual level reaches the nonlinear part of the GELU.
        encoder.weight.copy_(both_signs * FOURIER_GAIN)
        decoder.weight.copy_(both_signs / FOURIER_GAIN)


class FeatureProjection(nn.Module):
    """Normalise over channels and time, then map linearly to the separator's channels."""

    def __init__(self, source: int, target: int) -> None:
        super().__init__()
        self.norm = GlobalNorm(source, eps=1e-8)
        self.linear = Linear(source, target, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, source) to (B, T, target)."""
        if worthwhile(x):
            return by_tiles(
                lambda part, gain, shift: self.linear(torch.addcmul(shift, part, gain)),
                0, x, *self.norm.affine(x),
            )  # fmt: skip
        return self.linear(self.norm(x))


class OutputLayer(nn.Module):
    """Gated linear map from separator channels to decoder channels, per frame."""

    def __init__(self, source: int, target: int) -> None:
        super().__init__()
        self.grow = Linear(source, 2 * target)
        self.out = Linear(target, target)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, source) to (B, T, target)."""
        if worthwhile(x):
            return by_tiles(self.compute, 0, x)
        return self.compute(x)

    def compute(self, x: Tensor) -> Tensor:
        """The same for a tile."""
        return self.out(F.glu(self.grow(x), dim=-1))


class AudioDecoder(nn.Module):
    """Overlap-add of learned short waveforms (a transposed convolution without bias)."""

    def __init__(self, channels: int, kernel: int, stride: int) -> None:
        super().__init__()
        self.kernel = kernel
        self.stride = stride
        plain = nn.ConvTranspose1d(channels, 1, kernel, bias=False)  # only for its initial values
        self.weight = nn.Parameter(plain.weight.detach().squeeze(1))

    def forward(self, x: Tensor, length: int) -> Tensor:
        """(B, T, C) to (B, length).

        `length` may exceed what T frames cover by at most stride - 1 samples. These samples
        continue the last frame; they do not change the samples before them.
        """
        if not x.is_cpu:
            weight, missing = self.weight, length - (x.shape[1] - 1) * self.stride - self.kernel
            wave = F.conv_transpose1d(x.transpose(1, 2), weight[:, None], stride=self.stride)[:, 0]
            if missing <= 0:
                return wave.float()
            last = self.kernel - self.stride
            beyond = F.linear(x[:, -1], weight[:, last : last + missing].t())
            return torch.cat([wave, beyond], dim=1).float()
        overlaps = self.kernel // self.stride
        parts = linear(x, self.weight.t(), None).unflatten(-1, (overlaps, self.stride)).float()
        shifted = (F.pad(parts[:, :, i], (0, 0, i, overlaps - 1 - i)) for i in range(overlaps))
        wave = sum(shifted, start=torch.zeros((), device=x.device)).flatten(1)
        missing = length - wave.shape[1]
        if missing <= 0:
            return wave
        return torch.cat([wave, parts[:, -1, -1, :missing]], dim=1)
