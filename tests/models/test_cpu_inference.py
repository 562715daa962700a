"""Without gradients a CPU computes in tiles: the results are those of whole sequences."""

import pytest
import torch

from avsep.models import cpu
from avsep.models.dolphin import tiles
from avsep.models.dolphin.attention import attend_to_positions, position_scores
from avsep.models.dolphin.audio import AudioEncoder, FeatureProjection, OutputLayer
from avsep.models.dolphin.blocks import FeedForward, GlobalBlock, LocalBlock
from avsep.models.dolphin.config import DolphinConfig
from avsep.models.dolphin.heat import HeatDiffusion
from avsep.models.dolphin.injection import InjectionMultiSum
from avsep.models.dolphin.sequence import GlobalNorm, norm_gelu
from tests.support.dolphin_rule import relative

CONFIG = DolphinConfig(channels=8, heads=2, video_channels=4, local_kernel=9, layer_scale=0.5)


def compared(layer, *inputs):
    """A layer's outputs without and with gradients; only the former are computed in tiles."""
    for parameter in layer.parameters():
        torch.nn.init.normal_(parameter, 0.3, 0.3)
    layer.eval()
    with torch.no_grad():
        tiled = layer(*inputs)
    with torch.enable_grad():
        return relative(tiled, layer(*inputs).detach())


def positive_heat(module):
    for layer in module.modules():
        if isinstance(layer, HeatDiffusion):
            with torch.no_grad():
                layer.k.uniform_(0.5, 4.0)
            layer.plan()


@pytest.fixture(autouse=True)
def small_tiles(monkeypatch):
    torch.manual_seed(0)
    monkeypatch.setattr(tiles, "TILE", 48)


@pytest.mark.parametrize("length", [1, 47, 48, 49, 97, 400])
def test_layers_of_neighbouring_frames(length):
    x = torch.randn(2, length, 8)
    assert compared(FeedForward(8, 0.0, 0.5), x) < 1e-6
    assert compared(OutputLayer(8, 6), x) < 1e-6
    assert compared(FeatureProjection(8, 6), x) < 1e-5
    assert compared(AudioEncoder(8, 16, 4), torch.randn(2, 4 * length + 12)) < 1e-6


@pytest.mark.parametrize(("length", "tokens"), [(48, 3), (960, 60), (100, 100), (70, 1), (64, 2)])
def test_a_global_block_finds_the_tokens_of_each_tile(length, tokens):
    positions = torch.randn(2 * tokens, 4)
    assert compared(GlobalBlock(CONFIG), torch.randn(2, length, 8), positions) < 1e-5


@pytest.mark.parametrize("length", [129, 144, 145, 300, 1000])
def test_heat_is_mirrored_at_the_ends_alone(length):
    layer = HeatDiffusion(8, "auto", carry_unused=False)
    for low, high in ((0.3, 1.0), (4.0, 30.0)):  # of narrow and wide filters
        with torch.no_grad():
            layer.k.uniform_(low, high)
        layer.plan()
        x = torch.randn(2, length, 8)
        with torch.no_grad():
            tiled = layer(x)
        assert relative(tiled, layer(x).detach()) < 1e-5


@pytest.mark.parametrize("length", [60, 200, 403])
def test_blocks_with_heat(length):
    local, inject = LocalBlock(CONFIG), InjectionMultiSum(
        8, lambda channels: GlobalNorm(channels, 1e-5), "auto", carry_unused=False
    )  # fmt: skip
    for layer, inputs in (
        (local, [torch.randn(2, length, 8)]),
        (inject, [torch.randn(2, length, 8), torch.randn(2, max(1, length // 4), 8)]),
        (inject, [torch.randn(2, length // 4 * 4, 8), torch.randn(2, length // 4, 8)]),
    ):
        positive_heat(layer)
        layer.eval()
        with torch.no_grad():
            tiled = layer(*inputs)
        assert relative(tiled, layer(*inputs).detach()) < 1e-5


@pytest.mark.parametrize(("mean", "spread"), [(0.0, 1.0), (300.0, 1.0), (-5.0, 1e-4), (0.0, 0.0)])
def test_a_norm_far_from_zero_loses_no_digits(mean, spread):
    x = mean + spread * torch.randn(2, 300, 8)
    norm = GlobalNorm(8, 1e-5)
    exact = torch.nn.functional.layer_norm(x.double().flatten(1), (2400,), eps=1e-5).view_as(x)
    with torch.no_grad():
        for value in (norm(x), norm_gelu(x, norm) - torch.nn.functional.gelu(exact) + exact):
            assert (value - exact).abs().max() < 2e-3 * max(1.0, abs(mean) / 100)


@pytest.mark.parametrize("length", [1, 5, 32, 33, 100])
def test_attention_of_few_queries_at_a_time(length):
    query, key, value = torch.randn(3, 2, 4, length, 6).unbind()
    positions = torch.randn(2 * length, 6)
    bias = position_scores(query * 6**-0.5, positions)
    whole = torch.nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=bias)
    assert torch.allclose(attend_to_positions(query, key, value, positions), whole, atol=1e-5)


@pytest.mark.parametrize("shape", [(6,), (0, 6), (3, 6), (2, 5, 6)])
def test_linear_maps_are_those_of_the_library(shape):
    layer, x = cpu.Linear(6, 4), torch.randn(shape)
    with torch.no_grad():
        plain = torch.nn.functional.linear(x, layer.weight, layer.bias)
        assert torch.allclose(layer(x), plain, atol=1e-6)
        turned = torch.randn(2, 6, 5).transpose(1, 2)
        plain = torch.nn.functional.linear(turned, layer.weight, layer.bias)
        assert torch.allclose(layer(turned), plain, atol=1e-6)
        assert layer.double()(x.double()).dtype == torch.float64


def test_gradients_autocast_and_other_devices_take_the_ways_of_the_library():
    x = torch.zeros(1)
    assert not cpu.worthwhile(x)
    with torch.no_grad():
        assert cpu.worthwhile(x)
        assert not cpu.worthwhile(x.to("meta"))
        with torch.autocast("cpu", torch.bfloat16):
            assert not cpu.worthwhile(x)


def test_a_norm_of_millions_of_values_loses_no_digits():
    x = torch.randn(1, 40_000, 128) + 0.5
    with torch.no_grad():
        gain, _ = GlobalNorm(128, 0.0).affine(x)
    assert gain[0, 0, 0].item() == pytest.approx(1 / x.double().std(correction=0).item(), rel=1e-6)
