"""Active speech level by ITU-T P.56, method B: the level of speech without its pauses.

Implemented from the recommendation: a two-pole envelope with a time constant of 30 ms, fifteen
thresholds in steps of a factor of two (those of 16-bit samples), a hangover of 200 ms, and the
active level that is 15.9 dB above its own threshold.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import scipy  # which loads `signal` when it is used

from avsep.schema import RATE_HZ, SAMPLES_PER_FRAME

TIME_CONSTANT_S = 0.03
HANGOVER_S = 0.2
MARGIN_DB = 15.9
# Amplitudes relative to full scale: 2^-15 is one step of 16 bits, 2^-1 is half of full scale.
THRESHOLDS = 2.0 ** np.arange(-15, 0)
FINE_THRESHOLDS = 2.0 ** np.arange(-15, 0, 0.5)  # in steps of 3 dB instead of 6


@dataclass(frozen=True, kw_only=True)
class SpeechLevel:
    """How loud speech is, and how much of the time is speech.

    Attributes:
        active_dbfs: level of the active part; a full-scale square wave has 0. Minus infinity for
            silence, and for sound below 16-bit resolution.
        mean_dbfs: level of the whole, including pauses.
        activity: share of the time that is active, 0..1.
    """

    active_dbfs: float
    mean_dbfs: float
    activity: float


def active_level_dbfs(
    audio: np.ndarray, rate_hz: int, thresholds: np.ndarray = THRESHOLDS
) -> float:
    """The active speech level in dB below full scale (a full-scale square wave has 0).

    Args:
        audio: (samples,) int16, or float in -1..1.
        rate_hz: sample rate of the audio.
        thresholds: rising amplitudes, between which the level is interpolated.

    Returns:
        The level; minus infinity for silence, and for sound below 16-bit resolution.

    Raises:
        ValueError: the audio has several channels, or values that are not finite.
    """
    return speech_level(audio, rate_hz, thresholds).active_dbfs


def speech_level(
    audio: np.ndarray, rate_hz: int, thresholds: np.ndarray = THRESHOLDS
) -> SpeechLevel:
    """Measure the level of speech; see `active_level_dbfs` for arguments and errors."""
    samples = _samples(audio)
    energy = float(np.dot(samples, samples))
    if energy == 0.0:
        return SpeechLevel(active_dbfs=-math.inf, mean_dbfs=-math.inf, activity=0.0)
    mean_dbfs = 10 * math.log10(energy / len(samples))
    hangover = math.ceil(HANGOVER_S * rate_hz)
    active_dbfs = _active_dbfs(_envelope(samples, rate_hz), energy, hangover, thresholds)
    activity = min(1.0, 10 ** ((mean_dbfs - active_dbfs) / 10)) if active_dbfs > -math.inf else 0.0
    return SpeechLevel(active_dbfs=active_dbfs, mean_dbfs=mean_dbfs, activity=activity)


def active_frames(audio: np.ndarray, active_dbfs: float) -> np.ndarray:
    """Which video frames contain speech: at least half of their samples are active.

    A sample is active as in P.56: its envelope is at most 15.9 dB below the active level, or was so
    within the last 200 ms.

    Args:
        audio: (640 T,) int16, or float in -1..1, at 16 kHz.
        active_dbfs: active level of the whole audio.

    Returns:
        (T,) bool.
    """
    samples = _samples(audio)
    num_frames = len(samples) // SAMPLES_PER_FRAME
    if not math.isfinite(active_dbfs):
        return np.zeros(num_frames, np.bool_)
    above = _envelope(samples, RATE_HZ) >= 10 ** ((active_dbfs - MARGIN_DB) / 20)
    positions = np.arange(len(samples))
    last = np.maximum.accumulate(np.where(above, positions, -len(samples) - RATE_HZ))
    active = positions - last <= math.ceil(HANGOVER_S * RATE_HZ)
    frames = active[: num_frames * SAMPLES_PER_FRAME].reshape(num_frames, SAMPLES_PER_FRAME)
    return frames.mean(axis=1) >= 0.5


def _samples(audio: np.ndarray) -> np.ndarray:
    if audio.ndim != 1:
        raise ValueError(f"audio has shape {audio.shape}; give one channel, (samples,).")
    if audio.dtype == np.int16:
        return audio / 32768.0
    samples = audio.astype(np.float64)
    if not np.isfinite(samples).all():
        raise ValueError("audio contains values that are not finite; repair or drop it first.")
    return samples


def _envelope(samples: np.ndarray, rate_hz: int) -> np.ndarray:
    pole = math.exp(-1 / (rate_hz * TIME_CONSTANT_S))
    # Two equal poles, one after the other.
    numerator, denominator = [(1 - pole) ** 2], [1.0, -2 * pole, pole**2]
    return scipy.signal.lfilter(numerator, denominator, np.abs(samples))


def _active_dbfs(
    envelope: np.ndarray, energy: float, hangover: int, thresholds: np.ndarray
) -> float:
    """The level that is 15.9 dB above its own threshold."""
    below: tuple[float, float] | None = None  # level and excess at the threshold before
    for threshold in thresholds:
        count = _active_count(envelope, threshold, hangover)
        if count == 0:
            break
        level = 10 * math.log10(energy / count)
        excess = level - 20 * math.log10(threshold) - MARGIN_DB
        if excess <= 0:
            # There is no lower threshold: the sound is below 16-bit resolution.
            return -math.inf if below is None else _between(below, (level, excess))
        below = (level, excess)
    # Only sparse clicks get here: they are louder than their envelope by more than the margin.
    return -math.inf if below is None else below[0]


def _active_count(envelope: np.ndarray, threshold: float, hangover: int) -> int:
    """Number of samples at or above a threshold, or at most `hangover` samples after one."""
    above = np.flatnonzero(envelope >= threshold)
    if not len(above):
        return 0
    reach = np.minimum(np.diff(above, append=len(envelope)), hangover + 1)
    return int(reach.sum())


def _between(below: tuple[float, float], above: tuple[float, float]) -> float:
    """The level where the excess is zero, interpolated linearly between two thresholds."""
    (level_0, excess_0), (level_1, excess_1) = below, above
    return level_0 + (level_1 - level_0) * excess_0 / (excess_0 - excess_1)
