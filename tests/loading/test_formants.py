"""Formants are moved, and nothing else."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.signal import lfilter

from avsep.loading.formants import move_formants

RATE = 16000
PERIOD = 128  # samples: 125 Hz
FORMANTS_HZ = (700.0, 1800.0)


def vowel(formants_hz: tuple[float, ...], num_samples: int = RATE) -> np.ndarray:
    """Pulses through resonances: a pitch of 125 Hz and peaks at the formants, (N,) float32."""
    sound = np.zeros(num_samples)
    sound[::PERIOD] = 1.0
    for hz in formants_hz:
        pole = 0.95 * np.exp(2j * np.pi * hz / RATE)
        sound = lfilter([1.0], [1.0, -2 * pole.real, abs(pole) ** 2], sound)
    return (0.1 * sound / np.abs(sound).max()).astype(np.float32)


def harmonics_db(sound: np.ndarray) -> np.ndarray:
    """Level of each harmonic of 125 Hz up to 4 kHz."""
    middle = sound[RATE // 4 : RATE // 4 + 32 * PERIOD]
    return 20 * np.log10(np.abs(np.fft.rfft(middle * np.hanning(len(middle))))[32 : 33 * 32 : 32])


def pitch_period(sound: np.ndarray) -> int:
    middle = sound[RATE // 4 : RATE // 4 + 2048].astype(np.float64)
    return 40 + int(np.argmax(np.correlate(middle, middle, "full")[2047 + 40 : 2047 + 250]))


@pytest.mark.parametrize("factor", [0.85, 0.93, 1.1, 1.18])
def test_formants_move_by_the_factor_and_the_pitch_stays(factor: float) -> None:
    voice = vowel(FORMANTS_HZ)
    moved = move_formants(voice, factor)
    wanted = vowel(tuple(factor * hz for hz in FORMANTS_HZ))
    assert pitch_period(moved) == PERIOD
    got, before, there = harmonics_db(moved), harmonics_db(voice), harmonics_db(wanted)
    distance = np.std(got - there)
    # A vowel made with the formants there is much nearer than the one it was.
    assert distance < 0.6 * np.std(before - there)
    tops = [np.argmax(levels[:9]) for levels in (got, there)]  # of the first formant
    assert abs(tops[0] - tops[1]) <= 1


@pytest.mark.parametrize("num_samples", [512, 3000, 32000])
def test_a_factor_of_one_changes_nothing(num_samples: int) -> None:
    voice = np.random.default_rng(0).standard_normal(num_samples).astype(np.float32) / 10
    same = move_formants(voice, 1.0)
    assert same.shape == voice.shape
    assert same.dtype == np.float32
    np.testing.assert_allclose(same, voice, atol=1e-6)


def test_timing_and_energy_stay() -> None:
    voice = np.zeros(16000, np.float32)
    voice[6000:10000] = vowel(FORMANTS_HZ, 4000)
    moved = move_formants(voice, 1.15)
    assert np.square(moved).sum() == pytest.approx(np.square(voice).sum(), rel=1e-4)
    inside = np.square(moved[6000 - 512 : 10000 + 512]).sum()
    assert inside == pytest.approx(np.square(moved).sum(), rel=1e-6)


def test_silence_stays_silent() -> None:
    assert not move_formants(np.zeros(1000, np.float32), 1.2).any()
