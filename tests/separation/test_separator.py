"""From arrays to voices: levels, lengths, seams, fades; with drawn faces and an echoing model."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from avsep.errors import CheckError
from avsep.separation import SeparateConfig, Separator
from tests.support.echo import RATE_HZ, Echo, noise, pictures, two
from tests.support.face_scene import ColourBackend, Pose

SHORT = SeparateConfig(window_s=1.0, overlap_s=0.4, fade_s=0.1)


def separate(frames, audio, config=SHORT, model=None):
    return Separator(model or Echo(), config, ColourBackend()).separate((frames, audio, RATE_HZ))


@pytest.mark.slow
@pytest.mark.parametrize("num_samples", [16_000, 48_000, 48_639, 70_001])
def test_each_face_gets_a_voice_of_the_length_and_level_of_the_sound(num_samples):
    frames, audio = pictures(two, -(-num_samples // 640)), noise(num_samples)
    made = separate(frames, audio)
    assert [speaker.number for speaker in made.speakers] == [1, 2]
    for speaker in made.speakers:
        assert isinstance(speaker.voice, np.ndarray)
        assert speaker.voice.shape == audio.shape
        assert np.abs(speaker.voice - audio).max() < 1e-6
        assert speaker.facts["seen_share"] == 1.0


def test_tensors_come_back_as_tensors():
    frames, audio = torch.from_numpy(pictures(two, 30)), torch.from_numpy(noise(19_200))
    made = separate(frames, audio)
    assert isinstance(made.speakers[0].voice, torch.Tensor)
    assert torch.allclose(made.speakers[0].voice, audio)


def test_outputs_and_residual_add_up_to_the_mixture():
    frames, audio = pictures(two, 50), noise(32_000, level=0.3).clip(-1, 1)
    config = SeparateConfig(residual=True)
    made = separate(frames, audio, config, Echo(share=0.4))
    total = made.residual + sum(speaker.voice for speaker in made.speakers)
    assert np.abs(total - audio).max() < 1e-6
    assert np.abs(made.residual - 0.2 * audio).max() < 1e-6


def test_a_voice_that_would_exceed_full_scale_is_made_softer_as_a_whole():
    frames, audio = pictures(two, 30), noise(19_200, level=0.2).clip(-0.9, 0.9)
    made = separate(frames, audio, SHORT, Echo(share=3.0))
    voice = made.speakers[0].voice
    assert np.abs(voice).max() == pytest.approx(1.0, abs=1e-3)
    assert made.speakers[0].facts["gain_db"] < -1
    assert np.corrcoef(voice, audio)[0, 1] > 0.99999


@pytest.mark.slow
def test_a_voice_is_faded_where_its_face_is_away():
    def poses(index):
        late = [Pose(1, 230, 120, 70)] if 75 <= index < 150 else []
        return [Pose(0, 90, 110, 80), *late]

    frames, audio = pictures(poses, 225), noise(225 * 640)
    first, second = (speaker.voice for speaker in separate(frames, audio).speakers)
    assert np.abs(first - audio).max() < 1e-6
    seen = slice(75 * 640, 150 * 640)
    assert np.abs(second[seen] - audio[seen]).max() < 1e-6
    assert not second[: 50 * 640].any()
    assert not second[175 * 640 :].any()
    edge = np.abs(np.diff(second[50 * 640 : 75 * 640] / audio[50 * 640 : 75 * 640])).max()
    assert edge < 0.01  # no step in the gain


@pytest.mark.slow
def test_a_window_without_a_face_costs_no_forward_pass():
    def poses(index):
        return [Pose(0, 90, 110, 80)] if index < 50 else []

    model = Echo()
    separate(pictures(poses, 200), noise(200 * 640), SHORT, model)
    assert len(model.shown) <= 5  # of 13
    assert max(frames for _, frames in model.shown) <= 25 + 2 * 10 + 1


@pytest.mark.slow
def test_speakers_are_those_visible_longest():
    def poses(index):
        late = [Pose(1, 230, 120, 70)] if index >= 60 else []
        return [Pose(0, 90, 110, 80), *late]

    frames, audio = pictures(poses, 100), noise(64_000)
    made = separate(frames, audio, SeparateConfig(speakers=1))
    assert len(made.speakers) == 1
    assert made.speakers[0].facts["seen_share"] == 1.0
    only = separate(frames, audio, SeparateConfig(only=(2,)))
    assert [speaker.number for speaker in only.speakers] == [2]


def test_settings_that_do_not_fit_the_recording_are_named():
    frames, audio = pictures(two, 30), noise(19_200)
    with pytest.raises(CheckError, match="3 speakers were asked for, but 2"):
        separate(frames, audio, SeparateConfig(speakers=3))
    with pytest.raises(CheckError, match="no speaker 7"):
        separate(frames, audio, SeparateConfig(only=(7,)))
    with pytest.raises(CheckError, match="no face is visible"):
        separate(pictures(lambda _: [], 30), audio)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"rate": 48_000}, "resample to 16000"),
        ({"audio": np.zeros((2, 100), np.float32)}, "mono"),
        ({"audio": np.full(19_200, np.nan, np.float32)}, "finite"),
        ({"frames": np.zeros((30, 8, 8, 3), np.float32)}, "uint8"),
    ],
)
def test_arrays_of_a_wrong_kind_are_refused(change, match):
    given = {"frames": pictures(two, 30), "audio": noise(19_200), "rate": RATE_HZ} | change
    separator = Separator(Echo(), SHORT, ColourBackend())
    with pytest.raises(ValueError, match=match):
        separator.separate((given["frames"], given["audio"], given["rate"]))
