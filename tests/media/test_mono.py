"""Channels are mixed to one, and one is taken where they would cancel."""

import numpy as np
import pytest
from scipy.signal import butter, sosfilt

from avsep.media.decode import read_audio, stream_audio
from avsep.media.mono import single_channel
from tests.support.clip_maker import (
    click_audio,
    make_clip,
    speech_like,
)


def test_stereo_is_averaged(tmp_path):
    left = click_audio(1.0, 0.5, 16_000)
    both = np.concatenate([left, np.zeros_like(left)], axis=1)
    path = make_clip(tmp_path / "a.mov", audio=both, audio_codec="pcm_s16le")
    assert np.abs(read_audio(path, 0.0, 16_000) - left[:, 0] / 2).max() <= 0.5


def opposite(audio: np.ndarray, level: float = 1.0) -> np.ndarray:
    """(samples, 2): the second channel in opposite phase."""
    return np.concatenate([audio, (-level * audio).astype(np.int16)], axis=1)


@pytest.mark.parametrize("level", [1.0, 0.9, 0.7])
@pytest.mark.parametrize("codec", ["pcm_s16le", "aac"])
def test_channels_in_opposite_phase_do_not_cancel(tmp_path, level, codec):
    audio = speech_like(2.0)
    path = make_clip(tmp_path / "a.mov", audio=opposite(audio, level), audio_codec=codec)
    assert single_channel(path) == 0
    found = read_audio(path, 0.0, 32_000).astype(float)
    kept = np.sqrt((found**2).mean() / (audio.astype(float) ** 2).mean())
    assert kept == pytest.approx(1.0, abs=0.05)
    streamed = np.concatenate([block for _, block in stream_audio(path)])
    assert np.abs(streamed[:30_000] - found[:30_000]).max() <= 2


def test_the_louder_channel_is_taken(tmp_path):
    audio = opposite(speech_like(2.0), 0.8)[:, ::-1]
    path = make_clip(tmp_path / "a.mov", audio=audio, audio_codec="pcm_s16le")
    assert single_channel(path) == 1


def test_a_part_in_opposite_phase_is_found(tmp_path):
    audio = speech_like(4.0)
    both = np.repeat(audio, 2, axis=1)
    both[40_000:, 1] *= -1
    path = make_clip(tmp_path / "a.mov", audio=both, audio_codec="pcm_s16le")
    assert np.array_equal(read_audio(path, 0.0, 64_000), audio[:, 0])


def test_a_band_in_opposite_phase_is_found(tmp_path):
    """Consonants lie high and are weak, yet speech without them is not understood."""
    rng = np.random.default_rng(0)
    one, other = rng.normal(0, 1, (2, 32_000))
    low = sosfilt(butter(4, 800, "lowpass", fs=16_000, output="sos"), one)
    high = sosfilt(butter(4, 1_500, "highpass", fs=16_000, output="sos"), other)
    low, high = 5_000 * low / low.std(), 5_000 * high / high.std()
    for name, left, right, found in (
        ("high", low + high, low - high, True),
        ("low", high / 3 - low, high / 3 + low, True),
        ("none", low + high, low + high, False),
        ("one side", low + high, low, False),
    ):
        both = np.stack([left, right], axis=1).clip(-32_768, 32_767).astype(np.int16)
        path = make_clip(tmp_path / f"{name}.mov", audio=both, audio_codec="pcm_s16le")
        assert (single_channel(path) is not None) == found, name


def test_sound_that_survives_the_mix_is_mixed(tmp_path):
    first, second = speech_like(2.0, seed=0), speech_like(2.0, seed=1)
    silent = np.zeros_like(first)
    for name, left, right in (
        ("same", first, first),
        ("unrelated", first, second),
        ("one side", first, silent),
        ("other side", silent, first),
        ("silence", silent, silent),
        ("partly opposite", first, (second * 0.8 - first * 0.6).astype(np.int16)),
    ):
        both = np.concatenate([left, right], axis=1)
        path = make_clip(tmp_path / f"{name}.mov", audio=both, audio_codec="pcm_s16le")
        assert single_channel(path) is None, name


def test_surround_sound_with_a_centre_is_mixed(tmp_path):
    """Music in opposite phase at the sides does not cost the speech in the middle."""
    music, speech = speech_like(2.0, seed=3), speech_like(2.0, level=2_000)
    quiet = np.zeros_like(music)
    sides = opposite(music)
    whole = np.concatenate([sides, speech, quiet, quiet, quiet], axis=1)
    for name, sound, expected in (
        ("centre", whole, None),
        ("none", np.concatenate([sides, *[quiet] * 4], axis=1), 0),
    ):
        path = make_clip(tmp_path / f"{name}.mov", audio=sound, audio_codec="pcm_s16le")
        assert single_channel(path) == expected, name
