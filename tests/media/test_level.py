import math

import numpy as np
import pytest

from avsep.media.level import (
    HANGOVER_S,
    MARGIN_DB,
    active_frames,
    active_level_dbfs,
    speech_level,
)

RATE_HZ = 16_000


def tone(seconds: float, level_dbfs: float, rate_hz: int = RATE_HZ) -> np.ndarray:
    time_s = np.arange(round(seconds * rate_hz)) / rate_hz
    return 10 ** (level_dbfs / 20) * math.sqrt(2) * np.sin(2 * np.pi * 1_000 * time_s)


def bursts(on_s: float, off_s: float, count: int, level_dbfs: float = -26.0) -> np.ndarray:
    pause = np.zeros(round(off_s * RATE_HZ))
    return np.concatenate([np.concatenate([tone(on_s, level_dbfs), pause])] * count)


def by_the_letter(samples: np.ndarray, rate_hz: int) -> float:
    """P.56 method B sample by sample, as the recommendation counts it."""
    pole = math.exp(-1 / (rate_hz * 0.03))
    limit = math.ceil(HANGOVER_S * rate_hz)
    thresholds = [2.0 ** (j - 15) for j in range(15)]
    counts, waits = [0] * 15, [limit] * 15
    p = q = total = 0.0
    for sample in samples:
        total += sample * sample
        p = pole * p + (1 - pole) * abs(sample)
        q = pole * q + (1 - pole) * p
        for j, threshold in enumerate(thresholds):
            if q >= threshold:
                counts[j] += 1
                waits[j] = 0
            elif waits[j] < limit:
                counts[j] += 1
                waits[j] += 1
    levels = [10 * math.log10(total / n) if n else -math.inf for n in counts]
    excess = [a - 20 * math.log10(c) - 15.9 for a, c in zip(levels, thresholds, strict=True)]
    for j in range(1, 15):
        if excess[j] <= 0 < excess[j - 1]:
            share = excess[j - 1] / (excess[j - 1] - excess[j])
            return levels[j - 1] + share * (levels[j] - levels[j - 1])
    return -math.inf


@pytest.mark.parametrize("seed", range(4))
def test_fast_implementation_agrees_with_the_literal_one(seed):
    rng = np.random.default_rng(seed)
    rate_hz = [4_000, 8_000][seed % 2]
    gate = np.repeat(rng.random(20) < 0.5, rate_hz // 8) * 10 ** (rng.uniform(-3, -0.5))
    samples = rng.normal(0, 0.3, len(gate)) * (gate + 1e-4)
    assert active_level_dbfs(samples, rate_hz) == pytest.approx(
        by_the_letter(samples, rate_hz), abs=1e-9
    )


@pytest.mark.parametrize("level_dbfs", [-10.0, -26.0, -45.0])
def test_steady_sound_has_its_rms_level(level_dbfs):
    level = speech_level(tone(5, level_dbfs), RATE_HZ)
    assert level.active_dbfs == pytest.approx(level_dbfs, abs=0.1)
    assert level.mean_dbfs == pytest.approx(level_dbfs, abs=0.01)
    assert level.activity == pytest.approx(1, abs=0.02)


def test_pauses_do_not_lower_the_level():
    # Half of the time: the mean is 3 dB lower, the active level is that of the bursts, less the
    # hangover that counts as active.
    level = speech_level(bursts(5.0, 5.0, 3), RATE_HZ)
    assert level.mean_dbfs == pytest.approx(-29.0, abs=0.05)
    assert level.active_dbfs == pytest.approx(-26.0, abs=0.3)
    assert level.activity == pytest.approx(0.5, abs=0.03)


@pytest.mark.parametrize(("on_s", "off_s"), [(1.0, 1.0), (0.5, 1.5), (2.0, 1.0)])
def test_hangover_counts_as_active(on_s, off_s):
    # The envelope passes the threshold some 25 ms late and falls below it some 95 ms late.
    active_s = on_s + HANGOVER_S + 0.07
    expected = -26.0 + 10 * math.log10(on_s / active_s)
    assert active_level_dbfs(bursts(on_s, off_s, 6), RATE_HZ) == pytest.approx(expected, abs=0.15)


def test_short_gaps_are_bridged():
    level = speech_level(bursts(0.2, 0.15, 12), RATE_HZ)
    assert level.activity == pytest.approx(1.0, abs=0.05)
    assert level.active_dbfs == pytest.approx(level.mean_dbfs, abs=0.2)


def test_level_follows_the_gain_and_hardly_the_rate():
    samples = bursts(0.7, 0.6, 4)
    level = active_level_dbfs(samples, RATE_HZ)
    for gain_db in (-20.0, -6.0, 6.0):
        louder = active_level_dbfs(samples * 10 ** (gain_db / 20), RATE_HZ)
        assert louder - level == pytest.approx(gain_db, abs=0.2)
    assert active_level_dbfs(samples[::2], RATE_HZ // 2) == pytest.approx(level, abs=0.05)


def test_faint_background_in_the_pauses_changes_little():
    samples = bursts(1.0, 1.0, 4)
    noisy = samples + np.random.default_rng(0).normal(0, 10 ** (-60 / 20), len(samples))
    assert active_level_dbfs(noisy, RATE_HZ) == pytest.approx(
        active_level_dbfs(samples, RATE_HZ), abs=0.05
    )


def test_int16_and_float_agree():
    samples = bursts(1.0, 0.5, 2)
    audio = np.rint(samples * 32768).astype(np.int16)
    assert active_level_dbfs(audio, RATE_HZ) == pytest.approx(
        active_level_dbfs(samples, RATE_HZ), abs=0.01
    )


def test_silence_and_too_faint_sound_have_no_level():
    assert active_level_dbfs(np.zeros(16_000, np.int16), RATE_HZ) == -math.inf
    assert active_level_dbfs(np.zeros(0, np.int16), RATE_HZ) == -math.inf
    assert active_level_dbfs(tone(1, -85.0), RATE_HZ) == -math.inf
    assert speech_level(tone(1, -85.0), RATE_HZ).activity == 0


def test_nonsense_is_refused():
    with pytest.raises(ValueError, match="one channel"):
        active_level_dbfs(np.zeros((2, 100)), RATE_HZ)
    with pytest.raises(ValueError, match="not finite"):
        active_level_dbfs(np.array([0.0, np.nan]), RATE_HZ)


def test_active_frames_are_those_of_the_bursts_and_their_hangover():
    samples = bursts(1.0, 1.0, 3)
    level = speech_level(samples, RATE_HZ)
    active = active_frames(samples, level.active_dbfs)
    assert active.shape == (150,)
    expected = np.tile(np.arange(50) < 25 + (HANGOVER_S + 0.095) * 25, 3)
    assert (active != expected).sum() <= 6
    # Counted over samples, this is what the level was computed with.
    assert active.mean() == pytest.approx(level.activity, abs=0.02)
    assert not active_frames(samples, -math.inf).any()


def test_margin_is_that_of_the_recommendation():
    assert MARGIN_DB == 15.9
