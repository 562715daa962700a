"""Windows are joined without a seam, and equal what the models do on whole recordings."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest
import torch

from avsep.models.dolphin.adapter import DolphinAdapter
from avsep.models.dolphin.config import DolphinConfig
from avsep.models.dolphin.model import Dolphin, prepare_lips
from avsep.progress import hidden_progress
from avsep.schema import Cues
from avsep.separation import SeparateConfig
from avsep.separation.adapters import adapter_for
from avsep.separation.cross_fade import CrossFader
from avsep.separation.disk_array import DiskArray
from avsep.separation.recording import ArrayRecording
from avsep.separation.windows import _View, separate_recording, window_spans
from tests.support.dolphin_rule import rule_audio, tiny_dolphin
from tests.support.echo import RATE_HZ, Echo, noise

WINDOWS = SeparateConfig(window_s=1.0, overlap_s=0.4, fade_s=0.1)
CARD = {"family": "dolphin", "config": {}, "sha256": ""}


class Mouth:
    """A speaker who is always there."""

    def __init__(self, num_frames: int, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        self.lips = rng.integers(0, 256, (num_frames, 96, 96), dtype=np.uint8)

    def cues(self, first: int, stop: int) -> Cues:
        return Cues(lips=self.lips[first:stop], landmarks=None, valid=None)

    def gains(self, _config: SeparateConfig) -> np.ndarray:
        return np.ones(len(self.lips), np.float32)


def recording_of(audio, folder):
    """A recording of a sound, with black pictures as long as the sound."""
    frames = np.zeros((-(-len(audio) // 640), 2, 2, 3), np.uint8)
    return ArrayRecording(frames, audio, RATE_HZ, folder)


def separate(recording, model, speakers, folder, config=WINDOWS):
    """The voices of the speakers, as `avsep separate` computes them."""
    folder.mkdir(exist_ok=True)
    voices = [DiskArray(folder / f"voice{i}", "float32") for i in range(len(speakers))]
    separate_recording(recording, speakers, adapter_for(model), voices, config, hidden_progress)
    return [voice[:] for voice in voices]


def dolphin(make=lambda: Dolphin(DolphinConfig.demo())):
    torch.manual_seed(0)
    model = make().eval()
    model.card = CARD
    return model


@pytest.mark.parametrize("samples", [1, 1000, 15_999, 16_000, 16_001, 26_000, 48_005, 100_003])
def test_windows_join_without_a_seam(tmp_path, samples):
    audio = noise(samples)
    recording = recording_of(audio, tmp_path)
    mouth = Mouth(recording.timeline.num_frames)
    (voice,) = separate(recording, Echo(), [mouth], tmp_path)
    assert len(voice) == recording.timeline.total_samples
    assert np.abs(voice[:samples] - audio).max() < 1e-6
    assert not voice[samples:].any()


@pytest.mark.parametrize("samples", [16_001, 48_005, 100_003, 1_600_000])
def test_windows_cover_everything_and_do_not_grow(samples):
    spans = window_spans(samples, WINDOWS)
    assert spans[0][0] == 0
    assert spans[-1][1] == samples
    assert all(stop - start < 16_000 + 640 for start, stop in spans)
    for (_, stop), (start, _) in itertools.pairwise(spans):
        assert stop - start >= 0.4 * 16_000


def test_lip_features_see_beyond_the_window_and_not_beyond_the_video(tmp_path):
    model = Echo()
    separate(recording_of(noise(64_000), tmp_path), model, [Mouth(100)], tmp_path)
    frames = [frames for _, frames in model.shown]
    assert frames[0] == 35
    assert frames[1] == 45
    assert frames[-1] == 35


@torch.no_grad()
@pytest.mark.slow
def test_a_short_recording_is_separated_at_once(tmp_path):
    model, mouth = dolphin(), Mouth(16)
    lips = prepare_lips(torch.from_numpy(mouth.lips)[None], 88)
    sound = noise(9_607)
    (voice,) = adapter_for(model)(sound, [mouth.cues(0, 16)], 0)
    at_once = model(torch.from_numpy(sound)[None], lips)[0, 0]
    assert np.abs(voice - at_once.numpy()).max() < 1e-5
    recording = recording_of(sound, tmp_path)
    (voice,) = separate(recording, model, [mouth], tmp_path, SeparateConfig())
    at_once = model(torch.from_numpy(recording.mixture[:])[None], lips)[0, 0]
    assert np.abs(voice - at_once.numpy()).max() < 1e-5


@pytest.mark.slow
@torch.no_grad()
def test_joins_of_a_real_model_are_no_worse_than_the_rest(tmp_path):
    # Attention and norms depend on the window, so windows differ from the whole, but not only at
    # joins.
    model = dolphin(lambda: tiny_dolphin("auto"))
    mixture, mouth = rule_audio(1, 41_600)[0], Mouth(65)
    generator = torch.Generator().manual_seed(0)
    lips = torch.randint(0, 256, (65, 96, 96), dtype=torch.uint8, generator=generator)
    mouth.lips = lips.numpy()
    whole = model(mixture[None], prepare_lips(lips[None], 24))[0, 0]
    recording = recording_of(mixture.numpy(), tmp_path)
    joined = torch.from_numpy(separate(recording, model, [mouth], tmp_path)[0])
    assert joined.shape == whole.shape
    spans = window_spans(len(mixture), WINDOWS)
    joints = [(before[1] + after[0]) // 2 for before, after in itertools.pairwise(spans)]
    assert len(joints) >= 3
    near = torch.zeros(len(mixture), dtype=torch.bool)
    for joint in joints:
        near[joint - 800 : joint + 800] = True
    assert not (joined[near] == 0).any()
    steps = torch.nn.functional.pad(joined.diff().abs(), (0, 1))
    assert steps[near].max() <= 1.1 * steps[~near].max()
    assert steps[near].quantile(0.99) <= 1.1 * steps[~near].quantile(0.99)
    error = (joined - whole).square()
    assert error[near].mean() <= 1.1 * error[~near].mean()


@pytest.mark.slow
@torch.no_grad()
def test_dolphin_in_windows_equals_its_windows_one_by_one(tmp_path):
    model, recording = dolphin(), recording_of(noise(70 * 640), tmp_path)
    speakers = [Mouth(70, 1), Mouth(70, 2)]
    config = SeparateConfig(window_s=1.2, overlap_s=0.4, fade_s=0.1)
    voices = separate(recording, model, speakers, tmp_path, config)
    mixture = torch.from_numpy(recording.mixture[:])
    for speaker, voice in zip(speakers, voices, strict=True):
        lips = prepare_lips(torch.from_numpy(speaker.lips)[None], 88)
        joined = torch.zeros(0)
        for start, stop in window_spans(len(mixture), config):
            first, last = start // 640, stop // 640
            before = max(first - 10, 0)
            features = model.encode_lips(lips[:, :, before : last + 10])
            features = features[:, first - before : last - before]
            window = model.separate_features(mixture[None, start:stop], features)[0, 0]
            if len(joined):
                joint = start + (len(joined) - start - 1600) // 2
                ramp = 0.5 - 0.5 * torch.cos(torch.arange(1600) * (torch.pi / 1600))
                old, new = joined[joint : joint + 1600], window[joint - start :].clone()
                new[:1600] = old + (new[:1600] - old) * ramp
                joined = torch.cat([joined[:joint], new])
            else:
                joined = window
        assert len(voice) == 70 * 640
        assert np.abs(voice - joined.numpy()).max() < 1e-5


@pytest.mark.parametrize(
    ("frames", "audio", "rate_hz", "message"),
    [
        (np.zeros((1, 2, 2, 3), np.uint8), np.zeros(0, np.float32), 16_000, "mono"),
        (np.zeros((0, 2, 2, 3), np.uint8), np.zeros(640, np.float32), 16_000, "uint8"),
        (np.zeros((1, 2, 2, 3)), np.zeros(640, np.float32), 16_000, "uint8"),
        (np.zeros((1, 2, 2, 3), np.uint8), np.zeros(640, np.float32), 44_100, "resample"),
        (np.zeros((1, 2, 2, 3), np.uint8), np.full(640, np.nan, np.float32), 16_000, "finite"),
    ],
)
def test_bad_recordings_are_refused(tmp_path, frames, audio, rate_hz, message):
    with pytest.raises(ValueError, match=message):
        ArrayRecording(frames, audio, rate_hz, tmp_path)


def test_a_video_longer_than_the_sound_is_separated_to_its_end(tmp_path):
    audio = noise(640)
    recording = ArrayRecording(np.zeros((3, 2, 2, 3), np.uint8), audio, RATE_HZ, tmp_path)
    (voice,) = separate(recording, Echo(), [Mouth(3)], tmp_path)
    assert len(voice) == 3 * 640
    assert np.abs(voice[:640] - audio).max() < 1e-6


def test_a_model_in_training_is_set_to_eval_mode():
    model = Echo().train()
    adapter_for(model)
    assert not model.training


def test_windows_shorter_than_their_overlap_are_refused():
    with pytest.raises(ValueError, match="overlap"):
        SeparateConfig(window_s=1.0, overlap_s=1.0)


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


def test_vovit_sees_exactly_the_window():
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


class LipReader(Echo):
    """Its features are those of each frame alone, and it counts the frames that it was shown."""

    def __init__(self) -> None:
        super().__init__()
        self.config = dataclasses.replace(
            self.config, lip=dataclasses.replace(self.config.lip, motion_only=False)
        )
        self.batches: list[int] = []

    def separate_features(self, mixture, features):
        self.batches.append(len(mixture))
        per_sample = features[..., 0].repeat_interleave(640, 1)[:, : mixture.shape[1]]
        return mixture[:, None] * per_sample[:, None]


class Blinking(Mouth):
    """A speaker who is away for a while."""

    def gains(self, _config):
        gains = np.ones(len(self.lips), np.float32)
        gains[150:260] = 0
        return gains


@pytest.mark.parametrize("at_once", [1, 3, 16])
def test_lips_are_encoded_once_whatever_the_windows(tmp_path, monkeypatch, at_once):
    monkeypatch.setattr(DolphinAdapter, "at_once", at_once)
    audio = noise(420 * 640)
    recording = recording_of(audio, tmp_path)
    speakers = [Mouth(420), Blinking(420, 1)]
    model = LipReader()
    voices = separate(recording, model, speakers, tmp_path)
    shown = sum(mouths * frames for mouths, frames in model.shown)
    assert shown <= 2 * (420 + 4 * 20)  # window by window: nearly four times as many
    assert max(model.batches) == max(2, at_once // 2 * 2)
    monkeypatch.setattr(DolphinAdapter, "features", lambda *_: None)
    monkeypatch.setattr(DolphinAdapter, "at_once", 1)
    by_window = separate(recording, LipReader(), speakers, tmp_path / "by window")
    for voice, wanted in zip(voices, by_window, strict=True):
        assert np.abs(voice - wanted).max() < 1e-6
    assert not voices[1][170 * 640 : 240 * 640].any()
    assert np.abs(voices[1][: 100 * 640]).max() > 0.01


def test_a_batch_that_needs_too_much_memory_is_halved(tmp_path, monkeypatch):
    class Small(LipReader):
        def separate_features(self, mixture, features):
            if len(mixture) > 3:
                raise torch.OutOfMemoryError("out of memory")
            return super().separate_features(mixture, features)

    monkeypatch.setattr(DolphinAdapter, "at_once", 8)
    recording = recording_of(noise(200 * 640), tmp_path)
    model = Small()
    few = separate(recording, model, [Mouth(200)], tmp_path)
    assert max(model.batches) <= 3
    whole = separate(recording, LipReader(), [Mouth(200)], tmp_path)
    assert np.array_equal(few[0], whole[0])


def test_sound_that_is_not_finite_is_refused_and_not_silenced():
    sound = noise(16_000)
    sound[7] = np.nan
    with pytest.raises(ValueError, match="NaN or infinite"):
        adapter_for(LipReader())(sound, [Mouth(25).cues(0, 25)], 0)


@pytest.mark.slow
def test_features_of_stretches_equal_those_of_each_window(monkeypatch):
    monkeypatch.setattr("avsep.separation.windows.STRETCH", 20)
    adapter, mouth = adapter_for(dolphin(lambda: tiny_dolphin("auto"))), Mouth(70)
    view = _View(adapter, mouth, 70)
    for first, last in ((0, 25), (15, 40), (45, 70)):
        before, after = max(first - 10, 0), min(last + 10, 70)
        whole = adapter.features(mouth.cues(before, after))[first - before : last - before]
        seen, ahead, frames = view.of(first, last)
        assert (ahead, frames) == (0, last - first)
        assert torch.allclose(seen, whole, atol=1e-4)
