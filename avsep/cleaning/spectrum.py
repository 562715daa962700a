"""Short-time power spectra of a clip's sound, and the bandwidth of its speech."""

from __future__ import annotations

import numpy as np

from avsep.schema import RATE_HZ

FRAME = 512  # samples, 32 ms
HOP = 256  # samples, 16 ms: short, so that sums over frames do not depend on where a clip starts
BIN_HZ = RATE_HZ / FRAME
BAND_BINS = 8  # 250 Hz: finer bands would follow the harmonics of a voice

_LOUD_DB = 30.0  # frames within this of the loud ones (95th percentile) are speech
_NOISE_SHARE = 0.1  # share of frames, the quietest, that are background
_BELOW_PEAK_DB = 60.0  # anything weaker is rounding, or left over from a resampler
_ABOVE_NOISE_DB = 10.0
_WINDOW = np.hanning(FRAME + 1)[:-1].astype(np.float32)
_TINY = 1e-20


def power_spectra(audio: np.ndarray) -> np.ndarray:
    """Power spectra of successive frames.

    Args:
        audio: (samples,) int16 at 16 kHz.

    Returns:
        (frames, 257) float32: frames of 32 ms every 16 ms, bins of 31.25 Hz from 0 Hz; no frames
        for sound shorter than one frame.
    """
    from scipy.fft import rfft

    if len(audio) < FRAME:
        return np.zeros((0, FRAME // 2 + 1), np.float32)
    frames = np.lib.stride_tricks.sliding_window_view(audio, FRAME)[::HOP]
    spectra = rfft(frames * (_WINDOW / np.float32(32768)), axis=1)
    power: np.ndarray = spectra.real**2 + spectra.imag**2
    return power


def bandwidth_hz(power: np.ndarray) -> float:
    """The highest frequency that carries speech, in Hz; 0 where nothing stands out.

    The speech level of a band of 250 Hz is the 95th percentile of its loud frames, which comes from
    consonants, not vowels. A band counts where that level is at most 60 dB below the strongest band
    and at least 10 dB above the mean of the same band in the quietest tenth of all frames. So the
    4 kHz of a telephone show even when stored at 16 kHz, and in a noisy recording the result is
    where the noise takes over.

    Args:
        power: (frames, 257), from `power_spectra`.
    """
    if len(power) < 2:
        return 0.0
    usable = power.shape[1] - 1
    bands = power[:, :usable].reshape(len(power), usable // BAND_BINS, BAND_BINS).mean(axis=2)
    total = bands.sum(axis=1)
    order = np.argsort(total, kind="stable")
    noise = bands[order[: max(1, round(_NOISE_SHARE * len(bands)))]].mean(axis=0)
    loud = bands[total > np.percentile(total, 95) * 10 ** (-_LOUD_DB / 10)]
    if not len(loud):
        return 0.0
    speech = np.percentile(loud, 95, axis=0)
    carries = speech > _TINY + speech.max() * 10 ** (-_BELOW_PEAK_DB / 10)
    carries &= speech > noise * 10 ** (_ABOVE_NOISE_DB / 10)
    found = np.flatnonzero(carries)
    return float((found[-1] + 1) * BAND_BINS * BIN_HZ) if len(found) else 0.0
