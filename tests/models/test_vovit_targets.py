"""What VoViT learns from."""

import math

import pytest
import torch

from avsep.models.vovit.model import VoViT
from avsep.models.vovit.stft import stft
from avsep.models.vovit.targets import (
    complex_mask_loss,
    complex_mask_target,
    loss_weight,
    ratio_mask_loss,
    ratio_mask_target,
    stage1_loss,
    stage2_loss,
)
from tests.support.vovit_tiny import cues, face, moving_face, noise, tiny_config, tiny_model


def complex_noise(*shape, seed=0, level=5.0):
    generator = torch.Generator().manual_seed(seed)
    return level * torch.complex(
        torch.randn(shape, generator=generator), torch.randn(shape, generator=generator)
    )


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def clips():
    model = tiny_model()
    target, other = noise(2, 32_000, seed=5), noise(2, 32_000, seed=6)
    return model.prepare(target + other, target, cues(moving_face(2, 50)))


def test_mask_target_is_the_share_of_the_target():
    target, other = complex_noise(2, 16, 9), complex_noise(2, 16, 9, seed=1)
    mask = complex_mask_target(target, (target + other) / 2)
    assert torch.allclose(mask, target / (target + other), rtol=1e-4)


def test_the_perfect_mask_gives_the_target_back_and_costs_nothing(clips):
    model = tiny_model()
    network, sizes = model.network, model.config.spectrum
    mixture = network.mixture_spectrum(clips.mixture)
    target = stft(clips.target, sizes)
    mask = complex_mask_target(target, mixture)
    logits = torch.stack([mask.real, mask.imag], 1)
    even = slice(None, None, sizes.bin_stride)
    loss = complex_mask_loss(logits[:, :, even], target[:, even], mixture[:, even])
    assert loss.max() < 1e-9
    _, spectrum = network.apply_mask(logits[:, :, even], mixture)
    error = (spectrum - target)[:, even].abs().max()
    assert error < 1e-3 * target.abs().max()


def test_loss_equals_its_formula():
    logits = torch.randn(2, 2, 8, 5, generator=torch.Generator().manual_seed(3))
    target, mixture = complex_noise(2, 8, 5), complex_noise(2, 8, 5, seed=1)
    expected = torch.zeros(2)
    for b in range(2):
        terms = []
        for part in range(2):
            for f in range(8):
                for t in range(5):
                    s = complex(mixture[b, f, t])
                    m = complex(target[b, f, t]) / s / 2
                    wanted = 10 * math.tanh((m.real, m.imag)[part])
                    given = 10 * math.tanh(float(logits[b, part, f, t]))
                    weight = min(max(math.log(1 + abs(s)), 1e-3), 10)
                    terms.append(weight * (given - wanted) ** 2)
        expected[b] = sum(terms) / len(terms)
    assert torch.allclose(complex_mask_loss(logits, target, mixture), expected, rtol=1e-4)


def test_weight_is_bounded_on_both_sides():
    weight = loss_weight(torch.tensor([0.0, math.e - 1, 1e9]))
    assert weight.tolist() == pytest.approx([1e-3, 1.0, 10.0])


def test_loss_is_finite_where_the_mixture_is_empty():
    logits = torch.zeros(1, 2, 4, 4, requires_grad=True)
    empty = torch.zeros(1, 4, 4, dtype=torch.complex64)
    loss = complex_mask_loss(logits, complex_noise(1, 4, 4), empty)
    loss.sum().backward()
    assert loss.isfinite().all()
    assert logits.grad.isfinite().all()


def test_loss_is_computed_in_float32_under_autocast():
    logits = torch.randn(1, 2, 8, 8)
    target, mixture = complex_noise(1, 8, 8), complex_noise(1, 8, 8, seed=1)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = complex_mask_loss(logits, target, mixture)
    assert torch.equal(half, complex_mask_loss(logits, target, mixture))


def test_ratio_masks():
    target, estimate = complex_noise(1, 32, 9), complex_noise(1, 32, 9, seed=1)
    magnitude = ratio_mask_target(target, estimate, "magnitude")
    assert torch.allclose(magnitude, (target.abs() / estimate.abs()).clamp(max=1), rtol=1e-4)
    best = ratio_mask_target(target, estimate)
    assert best.min() >= 0
    assert best.max() <= 1

    def error(mask):
        return (mask * estimate - target).abs().square().sum()

    assert error(best) < error(magnitude)
    for nudge in (-0.05, 0.05):
        assert error(best) <= error((best + nudge).clamp(0, 1))
    assert ratio_mask_loss(best, target, estimate).max() == 0
    silent = ratio_mask_target(torch.zeros_like(target), estimate)
    assert silent.abs().max() == 0
    assert ratio_mask_target(target, torch.zeros_like(estimate)).isfinite().all()
    with pytest.raises(ValueError, match="kind"):
        ratio_mask_target(target, estimate, "binary")


def test_prepared_clips_have_the_official_length_and_a_peak_of_one(clips):
    assert clips.mixture.shape == clips.target.shape == (2, 32_767)
    assert clips.points.shape == (2, 50, 68, 2)
    assert torch.allclose(clips.mixture.abs().amax(1), torch.ones(2))
    with pytest.raises(ValueError, match="32000 samples"):
        tiny_model().prepare(noise(1, 16_000), noise(1, 16_000), cues(moving_face(1, 25)))


def test_training_and_estimation_see_the_same_input():
    model = tiny_model()
    mixture, landmarks = noise(1, 32_000), moving_face(1, 50)
    valid = torch.ones(1, 50, dtype=torch.uint8)
    valid[0, 10:14] = 0
    seen = []
    hook = model.network.register_forward_pre_hook(lambda module, args: seen.extend(args))
    with torch.inference_mode():
        model.estimate(mixture, cues(landmarks, valid))
    hook.remove()
    clips = model.prepare(mixture, mixture, cues(landmarks, valid))
    assert torch.equal(seen[0], clips.mixture)
    assert torch.allclose(seen[1], clips.points, atol=1e-4)


def test_silent_targets_are_flagged_and_learnt_from(clips):
    silent = clips._replace(target=clips.target * torch.tensor([[1.0], [0.0]]))
    loss = stage1_loss(tiny_model(), silent)
    assert loss.silent.tolist() == [False, True]
    assert loss.finite.all()
    assert torch.allclose(loss.value, loss.items.mean())


@pytest.mark.parametrize("part", ["mixture", "target", "points"])
def test_a_broken_item_is_flagged_and_spoils_no_other(clips, part):
    model = VoViT(tiny_config()).set_mean_face(face()).train()
    broken = clips._replace(**{part: getattr(clips, part).clone()})
    getattr(broken, part)[1].view(-1)[17] = torch.nan
    loss = stage1_loss(model, broken)
    loss.value.backward()
    assert loss.finite.tolist() == [True, False]
    assert loss.value == loss.items[0] > 0
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.requires_grad)
    assert all(b.isfinite().all() for b in model.buffers())


@pytest.mark.slow
def test_both_stages_learn():
    """A few steps on one batch bring either loss down."""
    torch.manual_seed(0)
    model = VoViT(tiny_config()).set_mean_face(face()).train()
    time = torch.arange(32_000) / 16_000
    target = torch.sin(2 * torch.pi * 400 * time) * torch.ones(2, 1)
    mixture = target + torch.sin(2 * torch.pi * 2500 * time)
    clips = model.prepare(mixture, target, cues(moving_face(2, 50)))
    losses = train(model, lambda: stage1_loss(model, clips), steps=20)
    assert losses[-1] < 0.7 * losses[0]
    both = VoViT.on_stage1(model.eval()).train()
    losses = train(both, lambda: stage2_loss(both, clips), steps=20)
    assert losses[-1] < 0.9 * losses[0]
    with pytest.raises(ValueError, match="no second stage"):
        stage2_loss(model, clips)


def train(model, compute, steps):
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], 2e-2)
    losses = []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = compute()
        loss.value.backward()
        optimizer.step()
        losses.append(float(loss.value.detach()))
    return losses


def test_the_complex_mask_is_finite_where_the_mixture_is_minus_eps():
    eps = torch.finfo(torch.float32).eps
    mixture = torch.tensor([[[-eps + 0j, 0j, 1 + 0j]]], dtype=torch.complex64)
    target = torch.full_like(mixture, 2e-5 + 1e-6j)
    mask = complex_mask_target(target, mixture)
    assert torch.isfinite(torch.view_as_real(mask)).all()
    torch.testing.assert_close(mask[0, 0, 2], target[0, 0, 2] / (1 + eps) / 2)
