import math

import pytest
import torch
import torch.nn.functional as F

from avsep.models.dolphin import blur
from avsep.models.dolphin.heat import HeatDiffusion
from avsep.models.dolphin.sequence import GlobalNorm, depthwise, pool, pool_evenly, resize_nearest


def reference(x, k):
    """The blur by an exact float64 cosine matrix."""
    length = x.shape[1]
    number = torch.arange(length, dtype=torch.float64)
    matrix = torch.cos(number[:, None] * (number + 0.5) * (math.pi / length))
    matrix *= math.sqrt(2 / length)
    matrix[0] /= math.sqrt(2)
    decay = torch.exp(-((number * math.pi / length) ** 2)[:, None] * k.double())
    return (matrix.t() @ (decay * (matrix @ x.double()))).float()


@pytest.mark.parametrize("length", [1, 2, 13, 50, 128, 129, 500])
@pytest.mark.parametrize("low", [0.0, 0.4, 1.0, 20.0])
def test_all_ways_blur_alike(length, low):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, length, 6, generator=generator)
    k = low + torch.rand(6, generator=generator)
    wanted = reference(x, k)
    assert torch.allclose(blur.exact(x, k), wanted, atol=1e-5)
    assert (blur.dense(x, k) - wanted).norm() < 1e-3 * wanted.norm()
    radius = blur.filter_radius(k)
    assert radius is not None
    if radius < length:
        difference = blur.filtered(x, k, radius) - wanted
        assert difference.norm() < 1.5 * blur.FILTER_ERROR * x.norm()


def test_negative_or_huge_diffusivity_is_left_to_the_fft():
    assert blur.filter_radius(torch.tensor([1.0, -0.01])) is None
    assert blur.filter_radius(torch.tensor([1.0, 1e4])) is None
    assert blur.filter_radius(torch.tensor([1.0, float("nan")])) is None
    x, k = torch.randn(1, 300, 2), torch.tensor([-0.05, 150.0])
    assert torch.allclose(blur.exact(x, k), reference(x, k), rtol=1e-4, atol=1e-4)


def test_a_wider_blur_takes_a_longer_filter():
    radii = [blur.filter_radius(torch.tensor([k])) for k in (1.0, 5.0, 20.0, 50.0)]
    assert radii == sorted(radii)
    assert radii[0] < radii[-1]


def test_a_constant_signal_stays_as_it_is():
    x = torch.full((1, 200, 3), 2.5)
    k = torch.tensor([0.5, 1.0, 3.0])
    assert torch.allclose(blur.filtered(x, k, 12), x, atol=1e-6)


def test_filter_gradients_are_those_of_the_exact_blur():
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(2, 200, 5, generator=generator)
    k = 0.8 + torch.rand(5, generator=generator)
    probe = torch.randn(2, 200, 5, generator=generator)

    def gradients(way):
        inputs = x.clone().requires_grad_(), k.clone().requires_grad_()
        return torch.autograd.grad((way(*inputs) * probe).sum(), inputs)

    exact = gradients(blur.exact)
    fast = gradients(lambda x, k: blur.filtered(x, k, 16))
    assert torch.allclose(fast[0], exact[0], atol=1e-3)
    assert torch.allclose(fast[1], exact[1], rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize("way", [blur.dense, blur.exact, lambda x, k: blur.filtered(x, k, 8)])
def test_training_goes_on_where_inference_was_first(way):
    x, k = torch.randn(1, 117, 2), torch.ones(2)  # a length that nothing else here has
    with torch.inference_mode():
        way(x, k)
    k.requires_grad_()
    way(x, k).sum().backward()
    assert k.grad.isfinite().all()


def test_layer_replans_when_its_diffusivity_changes():
    layer = HeatDiffusion(4, "auto", carry_unused=False)
    x = torch.randn(1, 300, 4)
    layer(x)
    first = layer._radius
    with torch.no_grad():
        layer.k.fill_(40.0)
    layer(x)
    assert first < layer._radius
    with torch.no_grad():
        layer.k.fill_(-0.1)
    fft = layer(x)
    assert layer._radius is None
    assert torch.allclose(fft, layer(x))


def test_blur_stays_in_float32_under_autocast(monkeypatch):
    layer = HeatDiffusion(4, "filter", carry_unused=False)
    seen = []
    true = blur.filtered
    monkeypatch.setattr(blur, "filtered", lambda x, k, r: seen.append(x.dtype) or true(x, k, r))
    with torch.autocast("cpu", torch.bfloat16):
        layer(torch.randn(1, 300, 4))
    assert seen == [torch.float32]


def test_backward_memory_grows_with_length_and_not_its_square():
    def saved(length):
        sizes = []
        layer = HeatDiffusion(2, "auto", carry_unused=False)
        keep = torch.autograd.graph.saved_tensors_hooks(
            lambda t: sizes.append(t.numel()) or t, lambda t: t
        )
        with keep:
            layer(torch.randn(1, length, 2, requires_grad=True))
        return sum(sizes)

    assert saved(4000) < 2.2 * saved(2000)


@pytest.mark.parametrize("kernel", [1, 3, 5, 9, 33, 65])
@pytest.mark.parametrize("stride", [1, 2])
def test_depthwise_gradients_are_the_librarys(kernel, stride):
    generator = torch.Generator().manual_seed(2)
    x = torch.randn(3, 41, 8, generator=generator, requires_grad=True)
    weight = torch.randn(8, 1, kernel, generator=generator, requires_grad=True)
    bias = torch.randn(8, generator=generator, requires_grad=True)
    ours = depthwise(x, weight, bias, stride)
    theirs = F.conv1d(x.transpose(1, 2), weight, bias, stride, kernel // 2, groups=8)
    assert torch.allclose(ours, theirs.transpose(1, 2), atol=1e-5)
    probe = torch.randn(ours.shape, generator=generator)
    for a, b in zip(
        torch.autograd.grad(ours, (x, weight, bias), probe),
        torch.autograd.grad(theirs.transpose(1, 2), (x, weight, bias), probe),
        strict=True,
    ):
        assert torch.allclose(a, b, atol=1e-4)


@pytest.mark.parametrize("eps", [1e-8, 1e-5])
def test_global_norm_is_a_group_norm_with_one_group(eps):
    norm = GlobalNorm(6, eps)
    with torch.no_grad():
        norm.weight.uniform_(0.5, 2)
        norm.bias.uniform_(-1, 1)
    x = 1e-3 * torch.randn(2, 31, 6) + 0.5
    wanted = F.group_norm(x.transpose(1, 2), 1, norm.weight, norm.bias, eps).transpose(1, 2)
    assert torch.allclose(norm(x), wanted, atol=1e-3)


@pytest.mark.parametrize(("old", "new"), [(25, 13), (50, 25), (13, 26), (7, 7), (50, 7997)])
def test_stretch_takes_the_nearest_earlier_vector(old, new):
    x = torch.randn(1, old, 2)
    wanted = x[:, [i * old // new for i in range(new)]]
    assert torch.equal(resize_nearest(x, new), wanted)


@pytest.mark.parametrize(("old", "new"), [(50, 13), (25, 13), (64, 16), (5, 10), (6, 6)])
def test_pool_is_adaptive_average_pooling(old, new):
    x = torch.randn(2, old, 3)
    wanted = F.adaptive_avg_pool1d(x.transpose(1, 2), new).transpose(1, 2)
    assert torch.allclose(pool(x, new), wanted, atol=1e-6)
    if old % new == 0 or new % old == 0:
        assert torch.allclose(pool_evenly(x, new), wanted, atol=1e-6)


def test_compiled_layers_take_any_length(monkeypatch):
    # What a compiler traces must be the same, without a choice by the length.
    x = torch.randn(2, 50, 3)
    plain = [pool(x, 13), resize_nearest(x, 100), resize_nearest(x, 77)]
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    traced = [pool(x, 13), resize_nearest(x, 100), resize_nearest(x, 77)]
    for ours, theirs in zip(traced, plain, strict=True):
        assert torch.allclose(ours, theirs, atol=1e-6)
