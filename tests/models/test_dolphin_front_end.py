"""The demo's front end: starts as identity, masks the mixture."""

import math

import pytest
import torch

from pipeline.models.dolphin.audio import HEARD_FLOOR, HEARD_POWER, magnitudes
from pipeline.models.dolphin.config import DolphinConfig
from pipeline.models.dolphin.model import Dolphin


def test_fourier_start_gives_the_sound_back_through_a_mask_of_one():
    torch.manual_seed(0)
    model = Dolphin(DolphinConfig.demo()).eval()
    wave = 0.05 * torch.randn(2, 8000)
    with torch.no_grad():
        again = model.audio_decoder(model.audio_encoder(wave), 8000)
    edge = model.config.kernel
    inner = slice(edge, -edge)
    assert (again - wave)[:, inner].norm() < 1e-4 * wave[:, inner].norm()


def test_the_mask_is_on_the_mixture():
    torch.manual_seed(0)
    model = Dolphin(DolphinConfig.demo()).eval()
    features = torch.randn(1, 12, model.config.lip.feature_size)
    wave = 0.05 * torch.randn(1, 7680)
    with torch.no_grad():
        model.output_layer.out.weight.zero_()
        model.output_layer.out.bias.fill_(0.5)
        half = model.separate_features(wave, features).squeeze(1)
        model.output_layer.out.bias.fill_(-0.5)
        nothing = model.separate_features(wave, features)
    inner = slice(256, -256)
    torch.testing.assert_close(half[:, inner], 0.5 * wave[:, inner], atol=1e-5, rtol=1e-3)
    assert not nothing.any()


def test_fourier_wants_sizes_that_make_it_an_identity():
    with pytest.raises(ValueError, match="kernel = 2 stride"):
        DolphinConfig(front_end="fourier")


def test_a_tone_is_heard_at_its_frequency_whatever_its_phase():
    model = Dolphin(DolphinConfig.demo()).eval()
    kernel = model.config.kernel
    time = torch.arange(16_000) / 16_000
    heard = []
    for phase in (0.0, 0.7, 1.9):
        tone = 0.1 * torch.sin(2 * math.pi * 1_000 * time + phase)
        with torch.no_grad():
            frames = magnitudes(model.audio_encoder(tone[None]))
        assert frames.shape[-1] == kernel // 2
        assert frames.dtype == torch.float32
        heard.append(frames[0, 5:-5])
    place = int(1_000 * kernel / 16_000)  # bands are 62.5 Hz wide
    assert set(heard[0].argmax(-1).tolist()) <= {place - 1, place}
    silence = HEARD_FLOOR ** (HEARD_POWER / 2)
    assert heard[0][:, 100:].max() < 2 * silence
    peak = heard[0].amax(-1).mean()
    assert peak > 5 * silence
    for other in heard[1:]:
        assert abs(other.amax(-1).mean() - peak) < 0.02 * peak


def test_magnitudes_are_compressed():
    encoded = torch.rand(1, 3, 8) * torch.tensor([1.0, 1, 1, 1, 0, 0, 0, 0])
    ratio = magnitudes(1e3 * encoded) / magnitudes(1e2 * encoded)
    torch.testing.assert_close(ratio, torch.full_like(ratio, 10**HEARD_POWER), rtol=1e-3, atol=0)


def test_a_mask_of_whole_frequencies_takes_one_tone_and_leaves_another():
    torch.manual_seed(0)
    model = Dolphin(DolphinConfig.demo()).eval()
    time = torch.arange(7_680) / 16_000
    low, high = (0.1 * torch.sin(2 * math.pi * rate * time)[None] for rate in (500, 4_000))
    features = torch.randn(1, 12, model.config.lip.feature_size)
    with torch.no_grad():
        model.output_layer.out.weight.zero_()
        model.output_layer.out.bias.copy_((torch.arange(128) < 32).float())  # below 2 kHz
        heard = model.separate_features(low + high, features).squeeze(1)
    inner = slice(256, -256)
    assert (heard - low)[:, inner].norm() < 0.02 * low[:, inner].norm()


def test_spectral_wants_a_mask_and_a_fourier_start():
    with pytest.raises(ValueError, match="spectral needs mask"):
        DolphinConfig(spectral=True)
