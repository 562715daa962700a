"""Triton kernels of whole blocks: position scores, gates and injections; see `kernels`."""

# mypy: ignore-errors

import triton
import triton.language as tl


@triton.jit
def position_bias(
    query, positions, bias, length, width, heads, size, factor, q_b, q_h, q_t,
    BM: tl.constexpr, BN: tl.constexpr,
):  # fmt: skip
    """bias[b, h, i, j] = factor q[b, h, i] . positions[T - 1 - i + j], in rows of `width`."""
    item = tl.program_id(2).to(tl.int64)
    i = tl.program_id(0) * BM + tl.arange(0, BM)
    j = tl.program_id(1) * BN + tl.arange(0, BN)
    there = (i < length)[:, None] & (j < length)[None, :]
    place = (length - 1 - i[:, None] + j[None, :]) * size
    total = tl.zeros((BM, BN), tl.float32)
    row = query + (item // heads) * q_b + (item % heads) * q_h + i * q_t
    for e in range(size):
        column = tl.load(row + e, mask=i < length, other=0.0)
        total += column[:, None] * tl.load(positions + place + e, mask=there, other=0.0)
    at = bias + item * length * width + i[:, None] * width + j[None, :]
    tl.store(at, total * factor, mask=(i < length)[:, None] & (j < width)[None, :])


@triton.jit
def position_bias_query_grad(
    grad, positions, out, length, size, factor, BM: tl.constexpr, BD: tl.constexpr
):
    """out[i, e] = factor sum_j grad[i, j] positions[T - 1 - i + j, e] of each item and head."""
    item = tl.program_id(1).to(tl.int64)
    i = tl.program_id(0) * BM + tl.arange(0, BM)
    d = tl.arange(0, BD)
    total = tl.zeros((BM, BD), tl.float32)
    for j in range(length):
        g = tl.load(grad + (item * length + i) * length + j, mask=i < length, other=0.0)
        at = positions + (length - 1 - i[:, None] + j) * size + d[None, :]
        mask = (i < length)[:, None] & (d < size)[None, :]
        total += g[:, None] * tl.load(at, mask=mask, other=0.0)
    at = out + item * length * size + i[:, None] * size + d[None, :]
    tl.store(at, total * factor, mask=(i < length)[:, None] & (d < size)[None, :])


@triton.jit
def position_bias_table_grad(
    query, grad, out, length, heads, size, factor, q_b, q_h, q_t,
    BR: tl.constexpr, BD: tl.constexpr,
):  # fmt: skip
    """out[item, r, e] = factor sum_i grad[i, r - (T - 1) + i] q[i, e] of each item and head."""
    item = tl.program_id(1).to(tl.int64)
    r = tl.program_id(0) * BR + tl.arange(0, BR)
    d = tl.arange(0, BD)
    total = tl.zeros((BR, BD), tl.float32)
    row = query + (item // heads) * q_b + (item % heads) * q_h
    for i in range(length):
        j = r - (length - 1) + i
        g = tl.load(
            grad + (item * length + i) * length + j, mask=(j >= 0) & (j < length), other=0.0
        )
        q = tl.load(row + i * q_t + d, mask=d < size, other=0.0)
        total += g[:, None] * q[None, :]
    at = out + item * 2 * length * size + r[:, None] * size + d[None, :]
    tl.store(at, total * factor, mask=(r < 2 * length)[:, None] & (d < size)[None, :])


@triton.jit
def gate_add(x, gate, branch, y, size, channels, repeat, BLOCK: tl.constexpr):
    """y[b, t] = x[b, t] + sigmoid(gate[b, t]) * branch[b, t // repeat]."""
    item = tl.program_id(1).to(tl.int64)
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    there = i < size
    g = tl.load(gate + item * size + i, mask=there, other=0.0)
    at = branch + item * (size // repeat) + (i // (channels * repeat)) * channels + i % channels
    b = tl.load(at, mask=there, other=0.0)
    value = tl.load(x + item * size + i, mask=there, other=0.0) + b / (1.0 + tl.exp(-g))
    tl.store(y + item * size + i, value, mask=there)


@triton.jit
def gate_add_grad(
    gate, branch, grad, gate_grad, branch_grad, tokens, channels, repeat, BC: tl.constexpr
):
    """The gradients of gate and branch in `gate_add`; one program per token."""
    token = tl.program_id(0)
    item = tl.program_id(1).to(tl.int64)
    c = tl.arange(0, BC)
    inside = c < channels
    b = tl.load(branch + (item * tokens + token) * channels + c, mask=inside, other=0.0)
    total = tl.zeros((BC,), tl.float32)
    for r in range(repeat):
        at = ((item * tokens + token) * repeat + r) * channels + c
        g = tl.load(grad + at, mask=inside, other=0.0)
        s = 1.0 / (1.0 + tl.exp(-tl.load(gate + at, mask=inside, other=0.0)))
        total += g * s
        tl.store(gate_grad + at, g * b * s * (1.0 - s), mask=inside)
    tl.store(branch_grad + (item * tokens + token) * channels + c, total, mask=inside)


@triton.jit
def inject(local, shift, gate, y, size, channels, length, outer, BLOCK: tl.constexpr):
    """local[t] * sigmoid(gate[t']) + shift[t'] with t' = t T' // T."""
    item = tl.program_id(1).to(tl.int64)
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    there = i < size
    t = (i // channels).to(tl.int64) * outer // length
    at = (item * outer + t) * channels + i % channels
    g = tl.load(gate + at, mask=there, other=0.0)
    value = tl.load(local + item * size + i, mask=there, other=0.0) / (1.0 + tl.exp(-g))
    value += tl.load(shift + at, mask=there, other=0.0)
    tl.store(y + item * size + i, value, mask=there)


@triton.jit
def mix_glu(x, weight, bias, y, length, channels, BT: tl.constexpr, BC: tl.constexpr):
    """A depthwise convolution of three taps, then GLU: (B, T, 2 C) to (B, T, C)."""
    item = tl.program_id(2).to(tl.int64)
    t = tl.program_id(0) * BT + tl.arange(0, BT)
    c = tl.program_id(1) * BC + tl.arange(0, BC)
    inside = c < channels
    value = tl.zeros((BT, BC), tl.float32)
    gate = tl.zeros((BT, BC), tl.float32)
    for k in range(3):
        i = t + k - 1
        there = ((i >= 0) & (i < length))[:, None] & inside[None, :]
        at = x + (item * length + i[:, None]) * 2 * channels + c[None, :]
        w = tl.load(weight + c * 3 + k, mask=inside, other=0.0)
        v = tl.load(weight + (c + channels) * 3 + k, mask=inside, other=0.0)
        value += tl.load(at, mask=there, other=0.0) * w[None, :]
        gate += tl.load(at + channels, mask=there, other=0.0) * v[None, :]
    value += tl.load(bias + c, mask=inside, other=0.0)[None, :]
    gate += tl.load(bias + channels + c, mask=inside, other=0.0)[None, :]
    at = y + (item * length + t[:, None]) * channels + c[None, :]
    tl.store(at, value / (1.0 + tl.exp(-gate)), mask=(t < length)[:, None] & inside[None, :])


@triton.jit
def context_gate(
    x, score_w, score_b, shrink_w, shrink_b, grow_w, grow_b, out, positions, channels, hidden,
    BP: tl.constexpr, BC: tl.constexpr, BH: tl.constexpr,
):  # fmt: skip
    """Gates (N, C) of frames (N, P, C): attention pooling, two linear maps, a sigmoid."""
    frame = tl.program_id(0).to(tl.int64)
    c = tl.arange(0, BC)
    inside = c < channels
    w = tl.load(score_w + c, mask=inside, other=0.0)
    shift = tl.load(score_b)
    largest = -1e30
    weights = 0.0
    total = tl.zeros((BC,), tl.float32)
    for start in range(0, positions, BP):
        p = start + tl.arange(0, BP)
        there = (p < positions)[:, None] & inside[None, :]
        at = x + (frame * positions + p[:, None]) * channels + c[None, :]
        values = tl.load(at, mask=there, other=0.0)
        score = tl.sum(values * w[None, :], axis=1) + shift
        score = tl.where(p < positions, score, -1e30)
        higher = tl.maximum(largest, tl.max(score, axis=0))
        shares = tl.where(p < positions, tl.exp(score - higher), 0.0)
        fade = tl.exp(largest - higher)
        weights = weights * fade + tl.sum(shares, axis=0)
        total = total * fade + tl.sum(values * shares[:, None], axis=0)
        largest = higher
    context = total / weights
    h = tl.arange(0, BH)
    used = (h < hidden)[:, None] & inside[None, :]
    first = tl.load(shrink_w + h[:, None] * channels + c[None, :], mask=used, other=0.0)
    mid = tl.sum(first * context[None, :], axis=1)
    mid += tl.load(shrink_b + h, mask=h < hidden, other=0.0)
    mid = tl.where(mid >= 0, mid, 0.1 * mid)
    second = tl.load(grow_w + c[None, :] * hidden + h[:, None], mask=used, other=0.0)
    gates = tl.sum(second * mid[:, None], axis=0)
    gates += tl.load(grow_b + c, mask=inside, other=0.0)
    tl.store(out + frame * channels + c, 1.0 / (1.0 + tl.exp(-gates)), mask=inside)
