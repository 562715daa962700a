"""Voices from longer or shorter vocal tracts: formants move, pitch and timing stay.

Playing a clip at another speed (`avsep.loading.speed`) moves pitch and formants together; this
moves the formants alone, so both become independent, as they are among people. This is vocal tract
length perturbation (Jaitly and Hinton 2013), on the sound instead of on its features:
each frame's smooth spectral envelope, from its low-order cepstrum, is stretched along frequency.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from scipy import fft

from avsep.energy import as_loud_as

WINDOW = 512  # samples at 16 kHz: 32 ms
HOP = 128
ORDER = 24  # cepstral coefficients of the envelope: below the pitch period of any voice
GAIN_LIMIT = 2.3  # of a frequency, as a natural logarithm: 20 dB
FLOOR = 1e-4  # of a magnitude; the loudest possible is about 128


def move_formants(voice: NDArray[np.float32], factor: float) -> NDArray[np.float32]:
    """Multiply the frequencies of all formants by a factor; the energy stays.

    Args:
        voice: (N,) at 16 kHz, in -1..1.
        factor: above 1 for a shorter vocal tract.

    Returns:
        (N,) float32.
    """
    padded = np.pad(voice, (WINDOW - HOP, WINDOW - HOP + -len(voice) % HOP))
    frames = sliding_window_view(padded, WINDOW)[::HOP] * _window()
    spectra = fft.rfft(frames, axis=1)
    to_cepstrum, basis = _transforms()
    cepstra = np.log(np.abs(spectra) + np.float32(FLOOR)) @ to_cepstrum
    change = cepstra @ (_basis_at(_frequencies() / factor) - basis)
    np.clip(change, -GAIN_LIMIT, GAIN_LIMIT, out=change)
    frames = fft.irfft(spectra * np.exp(change), WINDOW, axis=1) * _window()
    return as_loud_as(_overlap_add(frames)[WINDOW - HOP :][: len(voice)], voice)


@cache
def _window() -> NDArray[np.float32]:
    # Its squares, one hop apart, add up to a constant; the energy is restored at the end.
    return np.sqrt(np.hanning(WINDOW + 1)[:-1]).astype(np.float32)


def _frequencies() -> NDArray[np.float64]:
    """Frequencies of the bins, as shares of half the sample rate."""
    return np.linspace(0, 1, WINDOW // 2 + 1)


def _basis_at(frequencies: NDArray[np.float64]) -> NDArray[np.float32]:
    """Cosines of all orders at some frequencies, (ORDER, F); constant beyond the last frequency."""
    turns = np.arange(1, ORDER + 1)[:, None] * np.minimum(frequencies, 1.0)
    return np.cos(np.pi * turns).astype(np.float32)


@cache
def _transforms() -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """From log magnitudes to cepstra, (F, ORDER), and the basis to come back, (ORDER, F).

    Without order 0, which is the level. The taper keeps the envelope from ringing.
    """
    basis = _basis_at(_frequencies())
    weights = np.full(basis.shape[1], 2.0 / (basis.shape[1] - 1))
    weights[[0, -1]] /= 2
    taper = 0.5 + 0.5 * np.cos(np.pi * np.arange(1, ORDER + 1) / (ORDER + 1))
    return (basis * weights * taper[:, None]).T.astype(np.float32), basis


def _overlap_add(frames: NDArray[np.float32]) -> NDArray[np.float32]:
    share = WINDOW // HOP
    blocks = frames.reshape(len(frames), share, HOP)
    out = np.zeros((len(frames) + share - 1, HOP), np.float32)
    for part in range(share):
        out[part : part + len(frames)] += blocks[:, part]
    return out.reshape(-1)
