"""Checks of the Triton kernels on small tensors; run as a script with TRITON_INTERPRET=1."""

import torch
import torch.nn.functional as F

from avsep.bench.models.dolphin import draw_active_weights
from avsep.models.dolphin import blur
from avsep.models.dolphin.config import DolphinConfig
from avsep.models.dolphin.lip_layers import ContextGate
from avsep.models.dolphin.model import Dolphin
from avsep.models.gpu import block_ops, layers, ops
from avsep.settings import with_overrides
from tests.support.tiny_models import DOLPHIN

GENERATOR = torch.Generator().manual_seed(0)


def draw(*shape):
    return torch.randn(*shape, generator=GENERATOR).requires_grad_()


def compare(name, ours, theirs, inputs):
    assert torch.allclose(ours, theirs, rtol=1e-4, atol=1e-4), name
    probe = torch.randn(ours.shape, generator=GENERATOR)
    one = torch.autograd.grad(ours, inputs, probe)
    other = torch.autograd.grad(theirs, inputs, probe)
    for number, (a, b) in enumerate(zip(one, other, strict=True)):
        assert a.shape == b.shape, (name, number)
        assert torch.allclose(a, b, rtol=1e-3, atol=1e-3), (name, number, (a - b).abs().max())


def check_depthwise(length, channels, taps, stride):
    x, weight, bias = draw(2, length, channels), draw(channels, 1, taps), draw(channels)
    theirs = F.conv1d(x.transpose(1, 2), weight, bias, stride, taps // 2, groups=channels)
    ours = layers.depthwise(x, weight, bias, stride=stride)
    compare(f"depthwise {length} {taps}", ours, theirs.transpose(1, 2), (x, weight, bias))
    with torch.no_grad():
        activated = layers.depthwise(x, weight, bias, stride=stride, gelu=True)
        assert torch.allclose(activated, F.gelu(theirs).transpose(1, 2), atol=1e-5)


def check_global_norm(length, channels):
    x, weight, bias = draw(2, length, channels), draw(channels), draw(channels)
    x = (x + 3).detach().requires_grad_()
    theirs = F.group_norm(x.transpose(1, 2), 1, weight, bias, 1e-5).transpose(1, 2)
    compare("norm", layers.global_norm(x, weight, bias, 1e-5), theirs, (x, weight, bias))
    with torch.no_grad():
        slope, scale, residual = torch.tensor([0.3]), torch.rand(channels), torch.rand_like(x)
        args = x, weight, bias, 1e-5
        one = layers.global_norm_then(*args, slope=slope)
        assert torch.allclose(one, F.prelu(theirs, slope), atol=1e-4)
        assert torch.allclose(layers.global_norm_then(*args, gelu=True), F.gelu(theirs), atol=1e-4)
        two = layers.global_norm_then(*args, scale=scale, residual=residual)
        assert torch.allclose(two, residual + scale * theirs, atol=1e-4)


def check_heat(length, channels, low):
    k = (low + torch.rand(channels, generator=GENERATOR)).requires_grad_()
    radius = blur.filter_radius(k)
    taps = ops.blur_taps(k.detach(), radius, True)
    for ours, theirs in zip(taps, blur.taps(k, radius), strict=True):
        assert torch.allclose(ours, theirs, atol=1e-5), "taps"
    x = draw(2, length, channels)
    c = channels
    weights = (
        draw(c, 1, 3), draw(c), draw(2 * c, 1, 3), draw(2 * c), draw(c), draw(c), draw(c, 1, 3),
        draw(c), k,
    )  # fmt: skip
    enter_w, enter_b, split_w, split_b, norm_w, norm_b, leave_w, leave_b, _ = weights

    def conv(x, w, b, groups):
        return F.conv1d(x.transpose(1, 2), w, b, padding=1, groups=groups).transpose(1, 2)

    values, gates = conv(conv(x, enter_w, enter_b, c), split_w, split_b, c).chunk(2, -1)
    blurred = F.layer_norm(blur.filtered(values, k, radius), (c,), norm_w, norm_b)
    theirs = conv(blurred * F.silu(gates), leave_w, leave_b, c)
    compare("heat", layers.heat(x, weights, 1e-5, taps), theirs, (x, *weights))
    short, filters = torch.randn(1, 5, c), torch.stack([t.detach() for t in blur.taps(k, radius)])
    out = torch.empty_like(short)  # shorter than the filter: reflected more than once
    ops.depthwise_into(short, filters[0], None, out, 1, True, False)
    assert torch.allclose(out, blur.exact(short, k.detach()), atol=2e-3), "short"


def check_attention(length, heads, size):
    query, key, value = (torch.randn(2, length, heads * size) for _ in range(3))
    table = torch.randn(2 * length, size)
    split = [t.unflatten(-1, (heads, size)).transpose(1, 2) for t in (query, key, value)]
    place = length - 1 - torch.arange(length)[:, None] + torch.arange(length)[None]
    scaled = split[0] * size**-0.5
    bias = torch.einsum("bhid,ijd->bhij", scaled, table[place])
    for positions, added in ((table, bias), (None, None)):
        theirs = F.scaled_dot_product_attention(*split, attn_mask=added)
        ours = ops.attention(query, key, value, positions, heads)
        assert torch.allclose(ours, theirs.transpose(1, 2).flatten(2), atol=1e-4), "attention"


def check_position_bias(length, heads, size):
    query, table = draw(2, length, heads, size), draw(2 * length, size)
    place = length - 1 - torch.arange(length)[:, None] + torch.arange(length)[None]
    swapped = query.transpose(1, 2)
    theirs = torch.einsum("bhid,ijd->bhij", swapped * size**-0.5, table[place])
    compare("bias", layers.position_bias(swapped, table), theirs, (query, table))
    grad = torch.randn(theirs.shape, generator=GENERATOR)
    wild = grad.as_strided(grad.shape, grad.stride())
    if heads == 1:  # the stride of a dimension of size one may be anything
        wild = grad.as_strided(grad.shape, (grad.stride(0), 7, length, 1))
    for op, values in (
        (block_ops.position_bias_query_grad, lambda g: (g, table.detach())),
        (block_ops.position_bias_table_grad, lambda g: (swapped.detach(), g)),
    ):
        assert torch.equal(op(*values(grad)), op(*values(wild))), "bias of one head"


def check_gates(length, channels, repeat):
    x, gate, branch = (draw(2, n, channels) for n in (length * repeat, length * repeat, length))
    theirs = x + torch.sigmoid(gate) * branch.repeat_interleave(repeat, 1)
    compare("gate", layers.gate_add(x, gate, branch), theirs, (x, gate, branch))
    local, shift, gate = (torch.randn(2, n, channels) for n in (2 * length + 1, length, length))
    index = torch.arange(2 * length + 1) * length // (2 * length + 1)
    theirs = local * torch.sigmoid(gate[:, index]) + shift[:, index]
    assert torch.allclose(block_ops.inject(local, shift, gate), theirs, atol=1e-5), "inject"
    x, weight, bias = draw(2, length, 2 * channels), draw(2 * channels, 1, 3), draw(2 * channels)
    theirs = F.conv1d(x.transpose(1, 2), weight, bias, padding=1, groups=2 * channels)
    ours = block_ops.mix_glu(x, weight, bias)
    assert torch.allclose(ours, F.glu(theirs.transpose(1, 2), -1), atol=1e-5), "glu"


@torch.no_grad()
def check_context_gate(positions, channels):
    gate = ContextGate(channels)
    for values in gate.parameters():
        values.copy_(torch.randn(values.shape, generator=GENERATOR))
    x = torch.randn(1, 2, positions, 1, channels, generator=GENERATOR)
    usable, ops.usable = ops.usable, lambda x: False
    theirs = gate.gates(x)
    ops.usable = usable
    assert torch.allclose(gate.gates(x), theirs, atol=1e-5), "context gate"


def check_model():
    """A whole tiny Dolphin in eval mode (batch norm of two items is ill-conditioned)."""
    torch.manual_seed(0)
    config = with_overrides(DolphinConfig.demo(), DOLPHIN, "test")
    model = draw_active_weights(Dolphin(config)).freeze_lip_encoder()
    model.plan_heat()
    mixture, lips = torch.randn(2, 700), torch.randn(2, 1, 2, 88, 88)
    real, results = ops.usable, []
    for way in (lambda x: False, real):
        ops.usable = way
        with torch.no_grad():
            estimate = model.eval()(mixture, lips)
        model.zero_grad()
        model(mixture, lips).square().sum().backward()
        grads = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
        results.append((estimate, grads))
    (plain, plain_grads), (fused, fused_grads) = results
    assert (plain - fused).norm() < 5e-3 * plain.norm(), (plain - fused).norm() / plain.norm()
    assert plain_grads.keys() == fused_grads.keys()
    for name, grad in plain_grads.items():
        away = (grad - fused_grads[name]).norm()
        assert away < 5e-2 * grad.norm() + 1e-2, (name, away, grad.norm())


if __name__ == "__main__":
    assert ops.INTERPRETED
    for length, channels, taps, stride in (
        (1, 4, 3, 1), (41, 6, 5, 2), (40, 8, 65, 1), (17, 130, 3, 1),
    ):  # fmt: skip
        check_depthwise(length, channels, taps, stride)
    for length, channels in ((5, 4), (150, 60), (3, 130)):
        check_global_norm(length, channels)
    for length, channels, low in ((30, 6, 0.6), (60, 8, 3.0)):
        check_heat(length, channels, low)
    for length, heads, size in ((5, 2, 4), (45, 2, 16)):
        check_attention(length, heads, size)
        check_position_bias(length, heads, size)
        check_position_bias(length, 1, size)
    check_gates(7, 6, 3)
    check_gates(20, 70, 1)
    check_context_gate(300, 4)
    check_context_gate(9, 32)
    check_model()
    print("equal")
