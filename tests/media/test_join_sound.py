"""The pictures of one file and the sound of another in one, in step and unchanged."""

import numpy as np
import pytest

from avsep.errors import ItemError
from avsep.media.decode import read_audio, read_frames
from avsep.media.join_sound import join_sound
from tests.support.clip_maker import make_clip, moving_pictures, speech_like
from tests.support.other_containers import converted


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    folder = tmp_path_factory.mktemp("parts")
    clip = folder / "clip.mp4"
    make_clip(clip, pictures=moving_pictures(30, seed=1), audio=speech_like(1.2, seed=1))
    for suffix in (".mov", ".wav"):
        (folder / f"a{suffix}").write_bytes(converted(clip, suffix))
    return clip, folder / "a.mov", folder / "a.wav"


def test_pictures_and_sound_are_those_of_their_files_and_in_step(parts, tmp_path):
    clip, pictures, sound = parts
    joined = tmp_path / "joined.mov"
    join_sound(pictures, sound, joined)
    before, after = (read_audio(path, 0.0, 16_000).astype(float) for path in (clip, joined))
    # Two changes of the rate cost the highest frequencies of this noise, but no sample of time.
    alike = {
        lag: np.corrcoef(before[9:-9], np.roll(after, lag)[9:-9])[0, 1] for lag in range(-8, 9)
    }
    assert max(alike, key=lambda lag: alike[lag]) == 0
    assert alike[0] > 0.95
    for old, new in zip(read_frames(clip, 0.0, 25), read_frames(joined, 0.0, 25), strict=True):
        assert np.array_equal(old, new)
    again = tmp_path / "again.mov"
    join_sound(pictures, sound, again)
    assert again.read_bytes() == joined.read_bytes()


def test_what_is_not_sound_or_has_no_pictures_is_said_and_nothing_is_left(parts, tmp_path):
    _, pictures, sound = parts
    text = tmp_path / "text.wav"
    text.write_bytes(b"not a sound")
    for first, second in ((pictures, text), (sound, sound), (text, sound), (pictures, tmp_path)):
        with pytest.raises(ItemError):
            join_sound(first, second, tmp_path / "joined.mov")
    assert [path.name for path in tmp_path.iterdir()] == ["text.wav"]
