import itertools

import pytest
import torch

from avsep.models.dolphin import chunked
from avsep.models.dolphin.chunked import WindowConfig, separate_long
from avsep.models.dolphin.config import DolphinConfig
from avsep.models.dolphin.model import Dolphin
from tests.support.dolphin_rule import rule_audio, tiny_dolphin

WINDOWS = WindowConfig(window_s=1.0, overlap_s=0.4, fade_s=0.1)


class Echo(torch.nn.Module):
    """Gives back the mixture, whatever the window: every join must vanish."""

    def __init__(self):
        super().__init__()
        self.config = DolphinConfig.demo()
        self.anything = torch.nn.Parameter(torch.zeros(1))
        self.longest = 0
        self.shown = []

    def encode_lips(self, lips):
        self.shown.append(lips.shape[2])
        return lips.mean((1, 3, 4))[..., None]

    def separate_features(self, mixture, features):
        assert features.shape[1] == -(-mixture.shape[1] // 640)
        self.longest = max(self.longest, mixture.shape[1])
        return mixture[:, None].clone()


@pytest.mark.parametrize("samples", [1, 1000, 15999, 16000, 16001, 26000, 48005, 100_003])
def test_windows_join_without_a_seam(samples):
    model = Echo().eval()
    mixture = rule_audio(1, samples)[0]
    frames = max(1, samples // 640)
    estimate = separate_long(
        model, mixture, torch.zeros(frames, 96, 96, dtype=torch.uint8), config=WINDOWS
    )
    assert torch.allclose(estimate, mixture, atol=1e-6)


@pytest.mark.parametrize("samples", [16001, 48005, 100_003, 1_600_000])
def test_windows_cover_everything_and_do_not_grow(samples):
    spans = chunked.window_spans(samples, WINDOWS)
    assert spans[0][0] == 0
    assert spans[-1][1] == samples
    assert all(end - start < 16000 + 640 for start, end in spans)
    for (_, end), (start, _) in itertools.pairwise(spans):
        assert end - start >= 0.4 * 16000


def test_lip_features_see_beyond_the_window_and_not_beyond_the_video():
    model = Echo().eval()
    separate_long(
        model, torch.zeros(64000), torch.zeros(100, 96, 96, dtype=torch.uint8), config=WINDOWS
    )
    assert model.shown[0] == 35
    assert model.shown[1] == 45
    assert model.shown[-1] == 35


@torch.no_grad()
def test_a_short_recording_is_separated_in_one_shot():
    torch.manual_seed(0)
    model = Dolphin(DolphinConfig.demo()).eval()
    mixture, lips = rule_audio(1, 9607)[0], torch.randint(0, 255, (16, 96, 96), dtype=torch.uint8)
    once = model(mixture[None], chunked.prepare_lips(lips[None], 88))[0, 0]
    assert torch.allclose(separate_long(model, mixture, lips), once, atol=1e-5)


@torch.no_grad()
def test_joins_of_a_real_model_are_no_worse_than_the_rest():
    # Attention and norms see the window, so windows differ from one shot, but not at joins alone.
    model = tiny_dolphin("auto").eval()
    mixture = rule_audio(1, 41_600)[0]
    generator = torch.Generator().manual_seed(0)
    lips = torch.randint(0, 256, (65, 96, 96), dtype=torch.uint8, generator=generator)
    once = model(mixture[None], chunked.prepare_lips(lips[None], 24))[0, 0]
    joined = separate_long(model, mixture, lips, config=WINDOWS)
    assert joined.shape == once.shape
    spans = chunked.window_spans(len(mixture), WINDOWS)
    joints = [(before[1] + after[0]) // 2 for before, after in itertools.pairwise(spans)]
    assert len(joints) >= 3
    near = torch.zeros(len(mixture), dtype=torch.bool)
    for joint in joints:
        near[joint - 800 : joint + 800] = True
    assert not (joined[near] == 0).any()
    steps = torch.nn.functional.pad(joined.diff().abs(), (0, 1))
    assert steps[near].max() <= 1.1 * steps[~near].max()
    assert steps[near].quantile(0.99) <= 1.1 * steps[~near].quantile(0.99)
    error = (joined - once).square()
    assert error[near].mean() <= 1.1 * error[~near].mean()


@pytest.mark.parametrize(
    ("mixture", "lips", "rate", "message"),
    [
        (torch.zeros(0), torch.zeros(1, 96, 96, dtype=torch.uint8), 16000, "above 0"),
        (torch.zeros(640), torch.zeros(0, 96, 96, dtype=torch.uint8), 16000, "F above 0"),
        (torch.zeros(640), torch.zeros(3, 96, 96, dtype=torch.uint8), 16000, "at most 1"),
        (torch.zeros(640), torch.zeros(1, 96, 96), 16000, "uint8"),
        (torch.zeros(640), torch.zeros(1, 96, 96, dtype=torch.uint8), 44100, "resample"),
        (torch.full((640,), torch.nan), torch.zeros(1, 96, 96, dtype=torch.uint8), 16000, "NaN"),
    ],
)
def test_bad_recordings_are_refused(mixture, lips, rate, message):
    with pytest.raises(ValueError, match=message):
        separate_long(Echo().eval(), mixture, lips, rate_hz=rate)


def test_a_model_in_training_and_nonsense_windows_are_refused():
    with pytest.raises(ValueError, match="eval"):
        separate_long(Echo().train(), torch.zeros(640), torch.zeros(1, 96, 96, dtype=torch.uint8))
    with pytest.raises(ValueError, match="overlap"):
        WindowConfig(window_s=1.0, overlap_s=1.0)
