"""Short-time power spectra of a clip's sound, and up to which frequency its speech reaches."""

from __future__ import annotations

import numpy as np

from avsep.schema import RATE_HZ

FRAME = 512  # samples, 32 ms
HOP = 256  # samples, 16 ms: where a clip is cut does not matter to what is summed over frames
BIN_HZ = RATE_HZ / FRAME
BAND_BINS = 8  # 250 Hz: finer would follow the harmonics of one voice

_LOUD_DB = 30.0  # frames this close to the loud ones (95th percentile) are speech
_NOISE_SHARE = 0.1  # of the frames, the quietest, are background
_BELOW_PEAK_DB = 60.0  # what is weaker is rounding, or what a resampler left
_ABOVE_NOISE_DB = 10.0
_WINDOW = np.hanning(FRAME + 1)[:-1].astype(np.float32)
_TINY = 1e-20


def power_spectra(audio: np.ndarray) -> np.ndarray:
    """Power spectra of successive frames.

    Args:
        audio: (samples,) int16 at 16 kHz.

    Returns:
        (frames, 257) float32, a frame of 32 ms every 16 ms, bins of 31.25 Hz from 0 Hz; no frames
        for sound that is shorter than one.
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

    Speech in a band of 250 Hz is what its loud frames reach (their 95th percentile, which
    consonants make, not vowels). It counts where it is less than 60 dB below the strongest band
    and 10 dB above the mean of the same band in the quietest tenth of all frames. A telephone's
    4 kHz shows, also after it was stored at 16 kHz; in a noisy recording it is where the noise
    begins to win.

    Args:
        power: as `power_spectra` gives it.
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
