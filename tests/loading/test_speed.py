"""Windows of played clips are those of the whole clip played, bit for bit."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.signal import resample_poly

from avsep.loading.speed import NORMAL, SpeedPerturbation, play, stretched_length
from avsep.schema import SAMPLES_PER_FRAME

FRAMES = 40


class OneClip:
    """A store of one clip that remembers how much of it was read."""

    def __init__(self, audio):
        self._audio, self.read = audio, 0

    def num_frames(self, _):
        return len(self._audio) // SAMPLES_PER_FRAME

    def audio_window(self, _, start, count):
        assert 0 <= start <= start + count <= len(self._audio)
        self.read += count
        return self._audio[start : start + count]


@pytest.fixture(scope="module")
def audio():
    rng = np.random.default_rng(0)
    return rng.integers(-32768, 32768, FRAMES * SAMPLES_PER_FRAME).astype(np.int16)


@pytest.mark.parametrize("speed", [13, *range(14, 25, 3), *range(26, 101, 3), 75])
def test_a_window_is_that_of_the_whole_clip(audio, speed):
    # As before windows: the whole clip by scipy's own filter, cut to whole frames.
    played = resample_poly(audio.astype(np.float64), speed, NORMAL)
    whole = np.clip(np.rint(played), -32768, 32767).astype(np.int16)
    whole = whole[: stretched_length(FRAMES, speed) * SAMPLES_PER_FRAME]
    store = OneClip(audio)
    speeds, rng = SpeedPerturbation(store, 0.0, 0), np.random.default_rng(speed)
    spans = [(0, len(whole)), (0, 640), (len(whole) - 640, 640), (1, 1), (len(whole) - 1, 1)]
    for _ in range(8):
        start = int(rng.integers(len(whole)))
        spans.append((start, int(rng.integers(1, len(whole) - start + 1))))
    for start, count in spans:
        found = speeds.window("clip", speed, start, count)
        np.testing.assert_array_equal(found, whole[start : start + count])


def test_only_what_the_window_needs_is_read(audio):
    store = OneClip(np.tile(audio, 20))
    SpeedPerturbation(store, 0.0, 0).window("clip", 30, 100_000, 3_000)
    assert 2_500 <= store.read < 2_700


def test_loud_sound_is_limited_and_does_not_turn_over(audio):
    square = np.where(np.arange(6400) // 40 % 2, 32767, -32768).astype(np.int16)
    played = play(square, 30)
    assert (played.min(), played.max()) == (-32768, 32767)
    assert np.mean(np.abs(np.diff(played.astype(int))) > 40_000) < 0.05
