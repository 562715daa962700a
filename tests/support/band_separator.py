"""A separator that truly looks: voices live in two bands, and the lips tell which one to keep."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import nn

from avsep.schema import Cues

EDGE_HZ = 2000.0
LOW, HIGH = 40, 200  # brightness of the lips of a low and of a high voice


class BandSeparator(nn.Module):
    """Keeps the band that the lips' brightness names; gives the mixture back for a still face."""

    def __init__(self, leak: float = 0.05) -> None:
        super().__init__()
        self.leak = nn.Parameter(torch.tensor(leak))
        self.mix = nn.Linear(10, 4, bias=False)

    def estimate(self, mixture: torch.Tensor, cues: Cues) -> torch.Tensor:
        spectrum = torch.fft.rfft(mixture)
        frequency = torch.fft.rfftfreq(mixture.shape[-1], 1 / 16_000, device=mixture.device)
        low = torch.fft.irfft(spectrum * (frequency < EDGE_HZ), mixture.shape[-1])
        lips = cues.lips.float()
        moves = (lips != lips[:, :1]).flatten(1).any(1)
        is_low = lips.mean(dim=(1, 2, 3)) < (LOW + HIGH) / 2
        kept = torch.where(is_low[:, None], low, mixture - low)
        self.mix(mixture[:, :10])  # 40 multiply-accumulates to count
        return torch.where(moves[:, None], kept + self.leak * mixture, mixture)


def band_voice(seed: int, high: bool, num_frames: int) -> np.ndarray:
    """(640 F,) float32: noise in one band with the rhythm of syllables."""
    generator = np.random.default_rng(seed)
    samples = 640 * num_frames
    spectrum = np.fft.rfft(generator.standard_normal(samples))
    frequency = np.fft.rfftfreq(samples, 1 / 16_000)
    band = (
        (frequency > 2400) & (frequency < 6000) if high else (frequency > 80) & (frequency < 1500)
    )
    sound = np.fft.irfft(spectrum * band, samples)
    syllables = 0.2 + np.clip(np.sin(2 * np.pi * 4 * np.arange(samples) / 16_000 + seed), 0, None)
    sound = sound * syllables
    return (0.1 * sound / sound.std()).astype(np.float32)


def band_lips(seed: int, high: bool, num_frames: int) -> np.ndarray:
    """(F, 96, 96) uint8 whose brightness names the band."""
    generator = np.random.default_rng(seed)
    noise = generator.integers(-20, 20, (num_frames, 96, 96))
    return ((HIGH if high else LOW) + noise).astype(np.uint8)


def load_band_separator() -> nn.Module:
    """In eval mode; importable in a child process."""
    return BandSeparator().eval()


def load_for_stage(run: Path, device: str) -> nn.Module:
    """What the stage calls; importable in a child process."""
    assert run.is_dir()
    assert device == "cpu"
    return load_band_separator()


def load_hungry_separator() -> nn.Module:
    """One that holds 100 MiB while it runs."""

    class Hungry(BandSeparator):
        def estimate(self, mixture: torch.Tensor, cues: Cues) -> torch.Tensor:
            held = torch.ones(100 * (1 << 20) // 4)
            return super().estimate(mixture, cues) * held[0]

    return Hungry().eval()
