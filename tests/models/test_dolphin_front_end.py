"""The demo's front end: starts as identity, masks the mixture."""

import pytest
import torch

from avsep.models.dolphin.config import DolphinConfig
from avsep.models.dolphin.model import Dolphin


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
