import numpy as np
import pytest

from avsep.cleaning.scores import FLOOR_DBFS, black_share, frozen_share, sound_scores

RATE_HZ = 16_000


def tone(seconds: float, level_dbfs: float) -> np.ndarray:
    amplitude = 32768 * 10 ** (level_dbfs / 20) * np.sqrt(2)
    return amplitude * np.sin(2 * np.pi * 300 * np.arange(round(seconds * RATE_HZ)) / RATE_HZ)


def noise(seconds: float, level_dbfs: float) -> np.ndarray:
    return np.random.default_rng(0).normal(
        0, 32768 * 10 ** (level_dbfs / 20), round(seconds * RATE_HZ)
    )


def as_audio(samples: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(samples), -32768, 32767).astype(np.int16)


@pytest.mark.parametrize("level_dbfs", [-6, -23.5, -60])
def test_level_is_the_rms_level(level_dbfs):
    assert sound_scores(as_audio(tone(1, level_dbfs))).level_dbfs == pytest.approx(
        level_dbfs, abs=0.05
    )


def test_no_sound_has_the_floor_as_level():
    for audio in (np.zeros(16_000, np.int16), np.zeros(0, np.int16)):
        scores = sound_scores(audio)
        assert scores.level_dbfs == FLOOR_DBFS
        assert scores.speech_share == 0
    assert sound_scores(np.zeros(10, np.int16)).snr_db == -20


def test_clipped_share_counts_full_scale_of_both_signs():
    audio = np.zeros(1_000, np.int16)
    audio[:10] = 32767
    audio[10:20] = -32768
    audio[20:30] = 32700
    assert sound_scores(audio).clipped_share == pytest.approx(0.02)


@pytest.mark.parametrize("share", [0.3, 0.5, 0.8])
@pytest.mark.parametrize("background_dbfs", [-90, -50])
def test_speech_share_is_the_share_of_the_bursts(share, background_dbfs):
    samples = noise(4, background_dbfs)
    for second in range(4):
        first = second * RATE_HZ
        samples[first : first + round(share * RATE_HZ)] += tone(share, -20)
    scores = sound_scores(as_audio(samples))
    assert scores.speech_share == pytest.approx(share, abs=0.03)


@pytest.mark.parametrize("snr_db", [0, 10, 30])
def test_snr_is_found_within_two_decibel(snr_db):
    samples = noise(4, -20 - snr_db)
    for second in range(4):
        samples[second * RATE_HZ : second * RATE_HZ + RATE_HZ // 2] += tone(0.5, -20)
    assert sound_scores(as_audio(samples)).snr_db == pytest.approx(snr_db, abs=2)


def test_steady_noise_has_no_snr():
    assert sound_scores(as_audio(noise(2, -30))).snr_db < -3


def test_dark_room_with_a_lit_face_is_not_black():
    pictures = np.full((4, 32, 32), 5, np.uint8)
    assert black_share(pictures) == 1
    pictures[1:, 10:18, 12:20] = 120
    assert black_share(pictures) == 0.25


def test_a_small_moving_part_is_not_frozen():
    pictures = np.full((5, 32, 32), 90, np.uint8)
    pictures[::2, 4, 4] += 1  # what compression does
    assert frozen_share(pictures) == 1
    pictures[3:, 20, 20] += 9
    assert frozen_share(pictures) == 0.75
    assert frozen_share(pictures[:1]) == 0
