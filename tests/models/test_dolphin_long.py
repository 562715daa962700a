import itertools

import pytest
import torch
from dolphin_rule import rule_audio

from pipeline.models.dolphin import Dolphin, DolphinConfig, WindowConfig, long, separate_long

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
    spans = long.window_spans(samples, WINDOWS)
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
    once = model(mixture[None], long.prepare_lips(lips[None], 88))[0, 0]
    assert torch.allclose(separate_long(model, mixture, lips), once, atol=1e-5)


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
