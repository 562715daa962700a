"""Stretches are joined without a seam, and equal what the models do on whole recordings."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from avsep.models.dolphin.chunked import WindowConfig, separate_long
from avsep.models.dolphin.config import DolphinConfig
from avsep.models.dolphin.model import Dolphin
from avsep.progress import hidden_progress
from avsep.schema import Cues
from avsep.separation import SeparateConfig
from avsep.separation.adapters import adapter_for
from avsep.separation.disk_array import DiskArray
from avsep.separation.recording import Timeline
from avsep.separation.windows import CrossFader, separate_recording
from tests.support.echo import noise


class Shown:
    """A speaker who is always there."""

    def __init__(self, num_frames: int, seed: int) -> None:
        rng = np.random.default_rng(seed)
        self.lips = rng.integers(0, 256, (num_frames, 96, 96), dtype=np.uint8)
        self.num_frames = num_frames

    def cues(self, first: int, stop: int) -> Cues:
        return Cues(lips=self.lips[first:stop], landmarks=None, valid=None)

    def gains(self, _config: SeparateConfig) -> np.ndarray:
        return np.ones(self.num_frames, np.float32)


class Heard:
    """A recording of noise."""

    def __init__(self, folder, num_frames: int) -> None:
        self.timeline = Timeline(
            start_s=0.0,
            num_frames=num_frames,
            first_picture=0,
            stop_picture=num_frames,
            sound_start=0,
            num_samples=num_frames * 640,
            width=96,
            height=96,
        )
        self.mixture = DiskArray(folder / "mixture", "float32")
        self.mixture.append(noise(num_frames * 640))


def test_dolphin_in_stretches_equals_its_own_long_separation(tmp_path):
    torch.manual_seed(0)
    model = Dolphin(DolphinConfig.demo()).eval()
    model.card = {"family": "dolphin", "config": {}, "sha256": ""}
    recording, speakers = Heard(tmp_path, 70), [Shown(70, 1), Shown(70, 2)]
    config = SeparateConfig(window_s=1.2, overlap_s=0.4, fade_s=0.1)
    voices = [DiskArray(tmp_path / f"v{i}", "float32") for i in range(2)]
    separate_recording(recording, speakers, adapter_for(model), voices, config, hidden_progress)
    windows = WindowConfig(window_s=1.2, overlap_s=0.4, fade_s=0.1)
    for speaker, voice in zip(speakers, voices, strict=True):
        mixture = torch.from_numpy(recording.mixture[:])
        alone = separate_long(model, mixture, torch.from_numpy(speaker.lips), config=windows)
        assert len(voice) == 70 * 640
        assert np.abs(voice[:] - alone.numpy()).max() < 1e-5


@pytest.mark.parametrize("fade", [1, 300, 5_000])
def test_a_cross_fade_of_one_signal_is_that_signal(fade):
    signal = noise(10_000)[None]
    fader = CrossFader(fade)
    spans = [(0, 4_000), (3_000, 7_000), (6_000, 10_000)]
    pieces = [fader.push(a, signal[:, a:b].copy()) for a, b in spans]
    joined = np.concatenate([*pieces, fader.finish()], axis=1)
    assert np.abs(joined - signal).max() < 1e-6


def test_what_lies_outside_the_fade_is_not_used():
    fader = CrossFader(100)
    first, second = np.zeros((1, 1_000), np.float32), np.ones((1, 1_000), np.float32)
    joined = np.concatenate([fader.push(0, first), fader.push(500, second), fader.finish()], axis=1)
    assert joined.shape == (1, 1_500)
    assert not joined[0, :700].any()
    assert (joined[0, 800:] == 1).all()
    assert (np.diff(joined[0]) >= 0).all()


def test_vovit_sees_the_very_stretch():
    from tests.support.vovit_tiny import moving_face, tiny_model

    model = tiny_model()
    model.card = {"family": "vovit", "config": {"variant": "speech-s1"}, "sha256": ""}
    sound, points = noise(60 * 640), moving_face(2, 60)
    valid = np.ones((2, 60), np.uint8)
    valid[1, 20:30] = 0
    faces = [Cues(lips=None, landmarks=points[k].numpy(), valid=valid[k]) for k in range(2)]
    voices = adapter_for(model)(sound, faces, 0)
    both = torch.from_numpy(sound)[None].repeat(2, 1)
    with torch.no_grad():
        wanted = model.estimate(
            both, Cues(lips=None, landmarks=points, valid=torch.from_numpy(valid))
        )
    assert voices.shape == (2, 60 * 640)
    assert np.abs(voices - wanted.numpy()).max() < 1e-6
    assert np.abs(voices[0] - voices[1]).max() > 1e-4


def test_a_model_that_cannot_separate_is_refused():
    from avsep.errors import CheckError

    model = torch.nn.Linear(1, 1)
    model.card = {"family": "vovit", "config": {"variant": "singing"}, "sha256": ""}
    with pytest.raises(CheckError, match="singing"):
        adapter_for(model)
