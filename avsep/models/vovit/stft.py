"""Short-time spectra, always in float32, regardless of autocast."""

from __future__ import annotations

import torch
from torch import Tensor

from avsep.models.full_precision import full_precision
from avsep.models.vovit.config import SpectrumConfig


def _window(fft_size: int, device: torch.device) -> Tensor:
    """The periodic Hann window; not a buffer, because `model.half()` would convert that."""
    return torch.hann_window(fft_size, periodic=True, dtype=torch.float32, device=device)


def stft(waveform: Tensor, config: SpectrumConfig) -> Tensor:
    """Unscaled spectra of waveforms, in frames centred on multiples of the hop.

    Args:
        waveform: (B, samples), real.
        config: transform sizes.

    Returns:
        (B, bins, 1 + samples // hop) complex64.
    """
    with full_precision(waveform):
        return torch.stft(
            waveform.float(),
            config.fft_size,
            hop_length=config.hop,
            window=_window(config.fft_size, waveform.device),
            center=True,
            pad_mode="reflect",
            return_complex=True,
        )


def istft(spectrum: Tensor, config: SpectrumConfig, num_samples: int) -> Tensor:
    """Waveforms of spectra; the inverse of `stft`.

    Args:
        spectrum: (B, bins, frames) complex64.
        config: transform sizes.
        num_samples: length of the result.

    Returns:
        (B, num_samples) float32.
    """
    with full_precision(spectrum):
        return torch.istft(
            spectrum,
            config.fft_size,
            hop_length=config.hop,
            window=_window(config.fft_size, spectrum.device),
            center=True,
            length=num_samples,
        )
