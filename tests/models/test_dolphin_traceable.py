"""Dolphin's recordable forward pass computes what the model does, on any length."""

import pytest
import torch

from avsep.models.dolphin.heat import HeatDiffusion
from avsep.models.dolphin.traceable import TraceableDolphin, TraceableHeat
from tests.support.active_dolphin import active_dolphin
from tests.support.traceable import compare


@pytest.mark.slow
@pytest.mark.parametrize("samples", [256, 8_000, 32_001])
def test_dolphin(samples):
    model = active_dolphin()
    compare(TraceableDolphin(model), model, 2, samples)


@torch.no_grad()
@pytest.mark.parametrize("length", [1, 3, 127, 128, 129, 400])
@pytest.mark.parametrize(("mode", "k"), [("auto", 1.0), ("auto", -0.01), ("fft", 1.0)])
def test_heat_by_matrix_and_by_filter(length, mode, k):
    torch.manual_seed(0)
    layer = HeatDiffusion(4, mode, carry_unused=False)
    layer.k.copy_(torch.tensor([k, 2.0, 0.5, 4.0]))
    x = torch.randn(2, length, 4)
    expected = layer(x)
    layer.__class__ = TraceableHeat
    assert torch.allclose(layer._blur(x), HeatDiffusion._blur(layer, x), atol=5e-6)
    assert torch.allclose(layer(x), expected, atol=1e-5)


def test_the_model_that_is_given_stays_as_it_was():
    model = active_dolphin()
    TraceableDolphin(model)
    assert not any(isinstance(module, TraceableHeat) for module in model.modules())
