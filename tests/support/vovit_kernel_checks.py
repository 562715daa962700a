"""Checks of VoViT's Triton kernels on small tensors; run as a script with TRITON_INTERPRET=1."""

import math

import torch
import torch.nn.functional as F
from torch import nn

from avsep.models.gpu import attention_stack, channel_ops, ops, row_ops, vovit_ops
from avsep.models.vovit import fused
from avsep.models.vovit.config import FusionConfig, SpectrumConfig
from avsep.models.vovit.graph import adjacency, nearest_frames
from avsep.models.vovit.stft import istft, stft
from avsep.models.vovit.transformer import Stack
from tests.support.gpu_kernel_checks import GENERATOR, compare, draw
from tests.support.vovit_tiny import moving_face, noise, tiny_model


def plain():
    """Run without kernels."""
    return Swapped(lambda x: False)


class Swapped:
    def __init__(self, usable):
        self.usable = usable

    def __enter__(self):
        self.before, ops.usable = ops.usable, self.usable

    def __exit__(self, *_):
        ops.usable = self.before


def attend_on_cpu(qkv, dropout, *, keep):
    """A stand-in for the CUDA attention."""
    q, k, v = qkv.transpose(1, 3).unbind(2)
    y = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).contiguous()
    return y, *[torch.empty(0)] * 3


def attend_grad_on_cpu(grad, qkv, kept, dropout):
    with torch.enable_grad():
        qkv = qkv.detach().requires_grad_()
        q, k, v = qkv.transpose(1, 3).unbind(2)
        y = F.scaled_dot_product_attention(q, k, v).transpose(1, 2)
        return torch.autograd.grad(y, qkv, grad)[0].flatten(0, 1).flatten(1)


def make_stack(layers=2):
    torch.manual_seed(1)
    stack = Stack(
        24, layers, FusionConfig(width=24, heads=3, feedforward=40, temporal_layers=1, dropout=0.0)
    )
    for values in stack.parameters():
        nn.init.normal_(values, std=0.3)
    return stack


def check_stack():
    stack, x = make_stack(), draw(2, 11, 24)
    with plain():
        theirs = stack(x)
    weights = tuple(stack.parameters())
    compare("stack", fused._stack(stack, x), theirs, (x, *weights))
    usual = attention_stack.FEW_ROWS
    with torch.no_grad():
        for few in (usual, 1):
            attention_stack.FEW_ROWS = few
            assert torch.allclose(fused._stack(stack.eval(), x), theirs, atol=1e-4), "stack"
    attention_stack.FEW_ROWS = usual


def check_stack_dropout():
    """By finite differences: the backward pass must draw the masks of the forward pass."""
    stack = make_stack(1).double().float()
    for layer in stack.layers:
        layer.dropout = 0.4
    x, probe = draw(2, 5, 24), torch.randn(2, 5, 24, generator=GENERATOR)

    def value(x):
        torch.manual_seed(5)  # the same masks
        return (fused._stack(stack, x) * probe).sum()

    (grad,) = torch.autograd.grad(value(x), x)
    step = torch.randn(x.shape, generator=GENERATOR)
    size = 1e-3
    away = value(x + size * step) - value(x - size * step)
    expected = (grad * step).sum() * 2 * size
    assert abs(away - expected) < 2e-2 * abs(expected) + 2e-4, (away, expected)


def check_dropout():
    x, seed = torch.ones(64, 128), torch.tensor(7)
    y, again, other = torch.empty_like(x), torch.empty_like(x), torch.empty_like(x)
    row_ops.gelu_drop(x, y, seed, 3, 0.25)
    row_ops.gelu_drop(x, again, seed, 3, 0.25)
    row_ops.gelu_drop(x, other, seed, 4, 0.25)
    kept = y != 0
    assert torch.equal(y, again), "the same seed and site give the same mask"
    assert not torch.equal(y, other), "each site has its own mask"
    assert abs(kept.float().mean() - 0.75) < 0.02, kept.float().mean()
    assert torch.allclose(y[kept], F.gelu(torch.tensor(1.0)) / 0.75), "scale"


def check_linear_act(rows, width, out_width):
    x, weight, bias = (torch.randn(s) for s in ((2, rows, width), (out_width, width), (out_width,)))
    theirs = F.linear(x, weight, bias)
    assert torch.allclose(row_ops.linear_act(x, weight, bias, None), F.gelu(theirs), atol=1e-4)
    ours = row_ops.linear_act(x, weight, bias, 0.5)
    assert torch.allclose(ours, F.leaky_relu(theirs, 0.5), atol=1e-4)


def norms(channels):
    pair = nn.BatchNorm1d(channels), nn.BatchNorm1d(channels)
    nn.init.normal_(pair[0].weight)
    nn.init.normal_(pair[0].bias)
    pair[0].running_mean.normal_()
    pair[0].running_var.uniform_(0.5, 2)
    pair[1].load_state_dict(pair[0].state_dict())
    return pair


def check_norm_act(rows, channels, slope, *, shifted, added):
    ours_norm, theirs_norm = norms(channels)
    x = (3 + draw(rows, channels)).detach().requires_grad_()
    bias = draw(channels) if shifted else None
    residual = draw(rows, channels) if added else None

    def theirs():
        y = theirs_norm(x if bias is None else x + bias)
        return F.leaky_relu(y if residual is None else y + residual, slope)

    ours = channel_ops.norm_act(ours_norm, x, slope=slope, conv_bias=bias, residual=residual)
    inputs = (x, *ours_norm.parameters(), *([residual] if added else []))
    probe = torch.randn(ours.shape, generator=GENERATOR)
    expected = theirs()
    assert torch.allclose(ours, expected, atol=1e-4), "norm"
    one = torch.autograd.grad(ours, inputs, probe, retain_graph=shifted)
    other = torch.autograd.grad(expected, (x, *theirs_norm.parameters(), *inputs[3:]), probe)
    for number, (a, b) in enumerate(zip(one, other, strict=True)):
        # In norms: a value that rounds to the other side of zero has another slope.
        assert (a - b).norm() <= 1e-2 * b.norm(), (number, (a - b).norm(), b.norm())
    if shifted:
        assert not torch.autograd.grad(ours, bias, probe)[0].any(), "a bias before a norm"
    for (name, a), b in zip(ours_norm.named_buffers(), theirs_norm.buffers(), strict=True):
        assert torch.allclose(a.float(), b.float(), atol=1e-4), name
    with torch.no_grad():
        ours_norm.eval(), theirs_norm.eval()
        ours = channel_ops.norm_act(ours_norm, x, slope=slope, conv_bias=bias, residual=residual)
        assert torch.allclose(ours, theirs(), atol=1e-4), "norm, eval"


def check_graph_mix(items, channels):
    edges = adjacency()
    nodes = edges.shape[-1]
    groups, importance = draw(items, nodes, 3 * channels), draw(*edges.shape)
    theirs = torch.einsum("nvkc,kvw->nwc", groups.unflatten(2, (3, channels)), edges * importance)
    ours = vovit_ops.GraphMix.apply(groups, edges, importance)
    compare("graph", ours, theirs, (groups, importance))
    norm = norms(channels)[0].eval()
    with torch.no_grad():
        ours = vovit_ops.graph_mix(
            groups, edges, importance, norm.running_mean, norm.running_var, norm.weight, norm.bias,
            norm.eps,
        )  # fmt: skip
        expected = torch.relu(norm(theirs.flatten(0, 1))).view_as(ours)
        assert torch.allclose(ours, expected, atol=1e-4), "graph, eval"


def check_join(frames, times, channels, maps):
    points, audio = draw(2, frames, 68, channels), draw(2, times, 6, maps)
    heard = audio.transpose(2, 3).flatten(2)
    theirs = torch.cat([nearest_frames(points.mean(2), times), heard], -1)
    compare("join", vovit_ops.JoinFeatures.apply(points, audio), theirs, (points, audio))


def check_positions(times, width):
    x, by_time, by_feature = draw(2, times, width), draw(times, width), draw(width, times)
    y = F.leaky_relu(x, 0.1) + by_time
    ours = vovit_ops.AddPositions.apply(x, by_time, by_feature, 0.1)
    compare("positions", ours[0] + ours[1].transpose(1, 2), 2 * y + by_feature.T, (x,))
    assert torch.allclose(ours[0], y), "positions"


def check_spectra(num_samples, config):
    wave = torch.randn(2, num_samples, generator=GENERATOR)
    with plain():
        theirs, halved = stft(wave, config), stft(wave, config, 2)
        back = istft(theirs, config, num_samples)
    ours = stft(wave, config)
    assert ours.shape == theirs.shape
    assert torch.allclose(ours, theirs, atol=1e-4), "stft"
    assert torch.allclose(stft(wave, config, 2), halved, atol=1e-4), "stft, divided"
    assert torch.allclose(istft(theirs, config, num_samples), back, atol=1e-5), "istft"


def check_model(variant):
    """A whole tiny VoViT: the waveforms, and a training step's gradients."""
    model = tiny_model(variant)
    if variant == "speech":
        model.freeze_stage1()
    mixture = noise(2, model.config.spectrum.clip_samples)
    frames = model.config.spectrum.clip_video_frames
    landmarks = moving_face(2, frames)[..., : model.config.landmark_dimensions]
    points = model._points(landmarks, None)
    with torch.no_grad():
        ours = model(mixture, landmarks, return_details=True)
        with plain():
            theirs = model(mixture, landmarks, return_details=True)
    for name in ("waveform", "logits", "mask", "mixture_spectrum", "stage1_spectrum", "spectrum"):
        one, other = getattr(ours, name), getattr(theirs, name)
        assert one.shape == other.shape, name
        assert (one - other).norm() < 1e-4 * other.norm(), (name, (one - other).norm())
    if variant == "speech":
        return
    results = []
    for road in (Swapped(ops.usable), plain()):
        with road:
            torch.manual_seed(0)
            model = tiny_model(variant).train()
            for stack in (model.network.stage1.fusion.temporal, model.network.stage1.fusion.decoder,
                          model.network.stage1.fusion.spectral):  # fmt: skip
                for layer in stack.layers:
                    layer.dropout = 0.0
            spectrum = model.network.mixture_spectrum(mixture / mixture.abs().max())
            loss = model.network.stage1(spectrum, points).square().mean()
            loss.backward()
            state = {n: b.clone() for n, b in model.named_buffers()}
            results.append((loss, {n: p.grad for n, p in model.named_parameters()}, state))
    (loss, grads, buffers), (plain_loss, plain_grads, plain_buffers) = results
    assert math.isclose(loss.item(), plain_loss.item(), rel_tol=1e-4), (loss, plain_loss)
    for name, grad in plain_grads.items():
        if grad is None:
            assert grads[name] is None, name
            continue
        assert grads[name].shape == grad.shape, name
        away = (grad - grads[name]).norm()
        assert away < 2e-2 * grad.norm() + 1e-4, (name, away, grad.norm())
    for name, buffer in plain_buffers.items():
        assert torch.allclose(buffers[name].float(), buffer.float(), rtol=1e-3, atol=1e-4), name


if __name__ == "__main__":
    assert ops.INTERPRETED
    attention_stack.attend, attention_stack.attend_grad = attend_on_cpu, attend_grad_on_cpu
    check_stack()
    check_stack_dropout()
    check_dropout()
    check_linear_act(5, 40, 33)
    check_linear_act(40, 24, 70)
    for rows, channels in ((700, 5), (40, 40), (2500, 3)):
        check_norm_act(rows, channels, 0.1, shifted=True, added=False)
        check_norm_act(rows, channels, 0.0, shifted=True, added=True)
        check_norm_act(rows, channels, 1.0, shifted=False, added=False)
    check_graph_mix(3, 5)
    check_join(50, 128, 5, 3)
    check_join(7, 5, 20, 1)
    check_positions(9, 40)
    check_spectra(3000, SpectrumConfig())
    check_spectra(399, SpectrumConfig(fft_size=62, hop=16, num_frames=25))
    check_model("speech-s1")
    check_model("speech")
    print("equal")
