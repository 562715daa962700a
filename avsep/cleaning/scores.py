"""Cheap scores of sound and video, for hard rejections and for selecting clips later."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from avsep.cleaning.spectrum import bandwidth_hz, power_spectra
from avsep.schema import RATE_HZ

FULL_SCALE = 32768.0
CLIPPED_FROM = 32735  # 0.999 of full scale
FLOOR_DBFS = -100.0  # lowest level that is reported
SNR_LIMITS_DB = (-20.0, 80.0)

_GATE_FRAME = RATE_HZ // 50  # 20 ms
_NOISE_SHARE = 0.1  # share of frames, the quietest, that count as background
_GATE_BELOW_LOUD_DB = 30.0
_BLACK_BELOW = 32  # grey level, 0..255
_STILL_BELOW = 2.0  # grey levels; compression changes the mean of a block by less than one


@dataclass(frozen=True, kw_only=True)
class SoundScores:
    """Scores of a clip's sound.

    Attributes:
        level_dbfs: RMS level of the whole clip; a full-scale square wave has 0.
        dc_offset: mean of the samples relative to full scale, -1..1.
        clipped_share: share of samples at full scale, 0..1.
        speech_share: share of 20 ms frames above the energy gate, 0..1.
        snr_db: mean power above the gate relative to that of the quietest tenth of the frames.
        bandwidth_hz: highest frequency that carries speech; see `avsep.cleaning.spectrum`.
    """

    level_dbfs: float
    dc_offset: float
    clipped_share: float
    speech_share: float
    snr_db: float
    bandwidth_hz: float


def sound_scores(audio: np.ndarray, power: np.ndarray | None = None) -> SoundScores:
    """Score a clip's sound.

    The gate is 30 dB below the loud frames (95th percentile) or, with a noisy background, a third
    of the way from the background up to the loud frames. The speech share of steady sound without
    pauses is therefore meaningless, but its SNR is near or below 0 dB.

    Args:
        audio: (samples,) int16 at 16 kHz.
        power: the `power_spectra` of `audio`, where they are already known.
    """
    if not len(audio):
        return SoundScores(
            level_dbfs=FLOOR_DBFS,
            dc_offset=0.0,
            clipped_share=0.0,
            speech_share=0.0,
            snr_db=SNR_LIMITS_DB[0],
            bandwidth_hz=0.0,
        )
    samples = audio.astype(np.float64) / FULL_SCALE
    energy = _frame_power(samples)
    levels_db = _decibel(energy)
    quiet = np.sort(energy)[: max(1, round(_NOISE_SHARE * len(energy)))]
    noise = float(quiet.mean())
    noise_db, loud_db = float(_decibel(noise)), float(np.percentile(levels_db, 95))
    gate_db = max(loud_db - _GATE_BELOW_LOUD_DB, noise_db + (loud_db - noise_db) / 3)
    above = levels_db > gate_db
    return SoundScores(
        level_dbfs=float(_decibel(float(np.mean(samples**2)))),
        dc_offset=float(samples.mean()),
        clipped_share=float(np.mean(np.abs(audio.astype(np.int32)) >= CLIPPED_FROM)),
        speech_share=float(above.mean()),
        snr_db=_snr_db(energy[above], noise),
        bandwidth_hz=bandwidth_hz(power_spectra(audio) if power is None else power),
    )


def black_share(pictures: np.ndarray) -> float:
    """Share of pictures without any bright part.

    Args:
        pictures: (count, side, side) uint8, small grey pictures of a clip.
    """
    if not len(pictures):
        return 0.0
    bright = np.percentile(pictures.reshape(len(pictures), -1), 98, axis=1)
    return float((bright < _BLACK_BELOW).mean())


def frozen_share(pictures: np.ndarray) -> float:
    """Share of successive pictures in which no part changes.

    Args:
        pictures: (count, side, side) uint8, small grey pictures at least some tenths of a second
            apart; each pixel is the mean of a block, so even a small face changes some.
    """
    if len(pictures) < 2:
        return 0.0
    steps = np.abs(np.diff(pictures.astype(np.int16), axis=0)).reshape(len(pictures) - 1, -1)
    return float((steps.max(axis=1) < _STILL_BELOW).mean())


def _frame_power(samples: np.ndarray) -> np.ndarray:
    """Mean square per 20 ms; a shorter rest counts only where there is nothing else."""
    count = len(samples) // _GATE_FRAME
    if count == 0:
        return np.array([np.mean(samples**2)])
    return np.mean(samples[: count * _GATE_FRAME].reshape(count, _GATE_FRAME) ** 2, axis=1)


def _decibel(power: np.ndarray | float) -> np.ndarray:
    return 10.0 * np.log10(np.maximum(power, 10.0 ** (FLOOR_DBFS / 10)))


def _snr_db(loud_power: np.ndarray, noise: float) -> float:
    low, high = SNR_LIMITS_DB
    if not len(loud_power):
        return low
    floor = 10.0 ** (FLOOR_DBFS / 10)
    ratio = (float(loud_power.mean()) - noise) / max(noise, floor)
    return float(np.clip(10.0 * np.log10(max(ratio, 10.0 ** (low / 10))), low, high))
