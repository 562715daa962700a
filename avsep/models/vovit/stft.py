"""Short-time spectra, always in float32, regardless of autocast."""

from __future__ import annotations

import torch
from torch import Tensor

from avsep.models.full_precision import full_precision
from avsep.models.gpu import ops, vovit_ops
from avsep.models.vovit.config import SpectrumConfig


def _window(fft_size: int, device: torch.device) -> Tensor:
    """The periodic Hann window; not a buffer, because `model.half()` would convert that."""
    return torch.hann_window(fft_size, periodic=True, dtype=torch.float32, device=device)


def kernels_serve(x: Tensor) -> bool:
    """Whether the GPU kernels serve real values; they have no gradients."""
    return ops.usable(x) and not (torch.is_grad_enabled() and x.requires_grad)


def stft(waveform: Tensor, config: SpectrumConfig, divisor: int = 1) -> Tensor:
    """Spectra of waveforms, in frames centred on multiples of the hop.

    Args:
        waveform: (B, samples), real.
        config: transform sizes.
        divisor: what the spectra are divided by.

    Returns:
        (B, bins, 1 + samples // hop) complex64.
    """
    if kernels_serve(waveform):
        frames = vovit_ops.windows(
            waveform.contiguous(), config.fft_size, config.hop, 1.0 / divisor
        )
        return torch.fft.rfft(frames).transpose(1, 2)
    with full_precision(waveform):
        spectrum = torch.stft(
            waveform.float(),
            config.fft_size,
            hop_length=config.hop,
            window=_window(config.fft_size, waveform.device),
            center=True,
            pad_mode="reflect",
            return_complex=True,
        )
        return spectrum if divisor == 1 else spectrum / divisor


def istft(spectrum: Tensor, config: SpectrumConfig, num_samples: int) -> Tensor:
    """Waveforms of spectra; the inverse of `stft`.

    Args:
        spectrum: (B, bins, frames) complex64.
        config: transform sizes.
        num_samples: length of the result.

    Returns:
        (B, num_samples) float32.
    """
    if kernels_serve(torch.view_as_real(spectrum)):
        frames = torch.fft.irfft(spectrum.transpose(1, 2), config.fft_size)
        return vovit_ops.overlap_add(frames.contiguous(), config.hop, num_samples)
    with full_precision(spectrum):
        return torch.istft(
            spectrum,
            config.fft_size,
            hop_length=config.hop,
            window=_window(config.fft_size, spectrum.device),
            center=True,
            length=num_samples,
        )
