"""Sound read in blocks equals sound read at once, whatever its rate, length and gaps."""

import numpy as np
import pytest

from avsep.errors import ItemError
from avsep.media.decode import read_audio, stream_audio
from tests.support.clip_maker import make_clip, speech_like


def streamed(path) -> tuple[float, np.ndarray]:
    blocks = list(stream_audio(path))
    return blocks[0][0], np.concatenate([block for _, block in blocks])


@pytest.mark.parametrize(
    ("rate_hz", "count"), [(16_000, 16_001), (48_000, 100_000), (44_100, 90_001), (8_000, 9_999)]
)
def test_blocks_equal_the_whole(tmp_path, rate_hz, count):
    audio = speech_like(count / 16_000)[:count]
    path = make_clip(tmp_path / "a.mkv", audio=audio, rate_hz=rate_hz, audio_codec="pcm_s16le")
    start_s, sound = streamed(path)
    assert start_s == 0
    assert len(sound) == round(count * 16_000 / rate_hz)
    whole = read_audio(path, 0.0, len(sound))
    inner = slice(400, len(sound) - 400)  # at its ends a filter sees what lies beyond
    assert np.abs(sound[inner].astype(int) - whole[inner]).max() <= 2


def test_late_sound_starts_at_its_time(tmp_path):
    path = make_clip(
        tmp_path / "a.mkv", audio=speech_like(1.0), audio_codec="pcm_s16le", audio_delay_s=0.7
    )
    start_s, sound = streamed(path)
    assert start_s == pytest.approx(0.7, abs=0.002)
    assert len(sound) == 16_000


def test_a_file_without_sound_is_named(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("no media")
    with pytest.raises(ItemError):
        streamed(path)
