"""Triton kernels on the rows of (R, C) float32 matrices, for attention layers; see `row_ops`."""

# mypy: ignore-errors

import triton
import triton.language as tl

from avsep.models.gpu.kernels import gelu


@triton.jit
def dropped(values, seed, site, index, p):
    """Values after dropout; the mask is a function of seed, site and index alone."""
    kept = tl.rand(tl.load(seed) + site, index.to(tl.int32)) >= p
    return tl.where(kept, values / (1.0 - p), 0.0)


@triton.jit
def normed_rows(value, there, weight, bias, c, channels, eps):
    """Layer norm of a tile of rows."""
    mean = tl.sum(value, axis=1) / channels
    away = tl.where(there, value - mean[:, None], 0.0)
    inverse = 1.0 / tl.sqrt(tl.sum(away * away, axis=1) / channels + eps)
    gain = tl.load(weight + c, mask=c < channels, other=0.0)
    shift = tl.load(bias + c, mask=c < channels, other=0.0)
    return away * inverse[:, None] * gain[None, :] + shift[None, :]


@triton.jit
def add_norm(
    x, branch, weight, bias, weight2, bias2, seed, site, total, y, rows, channels, eps, p,
    ADD: tl.constexpr, DROP: tl.constexpr, KEEP: tl.constexpr, TWICE: tl.constexpr,
    BR: tl.constexpr, BC: tl.constexpr,
):  # fmt: skip
    """y = norm(x + dropout(branch)), and once more where TWICE; the sum is kept where KEEP."""
    row = (tl.program_id(0) * BR + tl.arange(0, BR)).to(tl.int64)
    c = tl.arange(0, BC)
    there = (row < rows)[:, None] & (c < channels)[None, :]
    at = row[:, None] * channels + c[None, :]
    value = tl.load(x + at, mask=there, other=0.0)
    if ADD:
        added = tl.load(branch + at, mask=there, other=0.0)
        if DROP:
            added = dropped(added, seed, site, at, p)
        value += added
    if KEEP:
        tl.store(total + at, value, mask=there)
    value = normed_rows(value, there, weight, bias, c, channels, eps)
    if TWICE:
        value = normed_rows(value, there, weight2, bias2, c, channels, eps)
    tl.store(y + at, value, mask=there)


@triton.jit
def add_norm_grad(
    grad, total, weight, seed, site, x_grad, branch_grad, parts, rows, chunk, channels, eps, p,
    ADD: tl.constexpr, DROP: tl.constexpr, BR: tl.constexpr, BC: tl.constexpr,
):  # fmt: skip
    """All gradients of `add_norm`; those of weight and bias as part sums (parts, 2 C)."""
    part = tl.program_id(0)
    c = tl.arange(0, BC)
    gain = tl.load(weight + c, mask=c < channels, other=0.0)
    of_gain = tl.zeros((BC,), tl.float32)
    of_shift = tl.zeros((BC,), tl.float32)
    for start in range(part * chunk, part * chunk + chunk, BR):
        row = (start + tl.arange(0, BR)).to(tl.int64)
        there = ((row < rows) & (row < part * chunk + chunk))[:, None] & (c < channels)[None, :]
        at = row[:, None] * channels + c[None, :]
        value = tl.load(total + at, mask=there, other=0.0)
        mean = tl.sum(value, axis=1) / channels
        away = tl.where(there, value - mean[:, None], 0.0)
        inverse = 1.0 / tl.sqrt(tl.sum(away * away, axis=1) / channels + eps)
        normed = away * inverse[:, None]
        g = tl.load(grad + at, mask=there, other=0.0)
        of_gain += tl.sum(g * normed, axis=0)
        of_shift += tl.sum(g, axis=0)
        inner = g * gain[None, :]
        along_1 = tl.sum(inner, axis=1) / channels
        along_x = tl.sum(inner * normed, axis=1) / channels
        inner = inverse[:, None] * (inner - along_1[:, None] - normed * along_x[:, None])
        tl.store(x_grad + at, inner, mask=there)
        if ADD:
            if DROP:
                inner = dropped(inner, seed, site, at, p)
            tl.store(branch_grad + at, inner, mask=there)
    at = parts + part * 2 * channels + c
    tl.store(at, of_gain, mask=c < channels)
    tl.store(at + channels, of_shift, mask=c < channels)


@triton.jit
def gelu_drop(x, seed, site, y, size, p, DROP: tl.constexpr, BLOCK: tl.constexpr):
    """y = dropout(gelu(x))."""
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    value = gelu(tl.load(x + i, mask=i < size, other=0.0))
    if DROP:
        value = dropped(value, seed, site, i, p)
    tl.store(y + i, value, mask=i < size)


@triton.jit
def gelu_drop_grad(x, grad, seed, site, out, size, p, DROP: tl.constexpr, BLOCK: tl.constexpr):
    """The gradient of x in `gelu_drop`."""
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    value = tl.load(x + i, mask=i < size, other=0.0)
    g = tl.load(grad + i, mask=i < size, other=0.0)
    if DROP:
        g = dropped(g, seed, site, i, p)
    density = 0.3989422804014327 * tl.exp(-0.5 * value * value)
    slope = 0.5 * (1.0 + tl.erf(value * 0.7071067811865476)) + value * density
    tl.store(out + i, g * slope, mask=i < size)


@triton.jit
def linear_act(
    x, weight, bias, y, rows, width, out_width, slope,
    GELU: tl.constexpr, PRECISION: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr,
    BK: tl.constexpr,
):  # fmt: skip
    """y = act(x weight^T + bias), with GELU or a leaky ReLU."""
    m = (tl.program_id(0) * BM + tl.arange(0, BM)).to(tl.int64)
    n = tl.program_id(1) * BN + tl.arange(0, BN)
    total = tl.zeros((BM, BN), tl.float32)
    for start in range(0, width, BK):
        k = start + tl.arange(0, BK)
        rows_there = (m < rows)[:, None] & (k < width)[None, :]
        a = tl.load(x + m[:, None] * width + k[None, :], mask=rows_there, other=0.0)
        columns_there = (k < width)[:, None] & (n < out_width)[None, :]
        b = tl.load(weight + n[None, :] * width + k[:, None], mask=columns_there, other=0.0)
        total += tl.dot(a, b, input_precision=PRECISION)
    total += tl.load(bias + n, mask=n < out_width, other=0.0)[None, :]
    if GELU:
        total = gelu(total)
    if not GELU:
        total = tl.where(total >= 0, total, total * slope)
    there = (m < rows)[:, None] & (n < out_width)[None, :]
    tl.store(y + m[:, None] * out_width + n[None, :], total, mask=there)
