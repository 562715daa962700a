"""Triton kernels of batch norms on (R, C) float32 rows, channels last; see `channel_ops`."""

# mypy: ignore-errors

import triton
import triton.language as tl


@triton.jit
def norm_act(
    x, conv_bias, mean, variance, weight, bias, residual, y, size, channels, eps, slope,
    SHIFT: tl.constexpr, ADD: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """y = act(norm(x + conv_bias) + residual), by given statistics."""
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    there = i < size
    c = (i % channels).to(tl.int32)
    value = tl.load(x + i, mask=there, other=0.0)
    if SHIFT:
        value += tl.load(conv_bias + c)
    scale = tl.load(weight + c) / tl.sqrt(tl.load(variance + c) + eps)
    value = (value - tl.load(mean + c)) * scale + tl.load(bias + c)
    if ADD:
        value += tl.load(residual + i, mask=there, other=0.0)
    tl.store(y + i, tl.where(value > 0, value, value * slope), mask=there)


@triton.jit
def channel_moments(x, parts, rows, chunk, channels, BR: tl.constexpr, BC: tl.constexpr):
    """Mean and sum of squared deviations of each channel in each part: (parts, 2, C)."""
    part = tl.program_id(0).to(tl.int64)
    c = tl.program_id(1) * BC + tl.arange(0, BC)
    inside = c < channels
    first = part * chunk
    last = tl.minimum(first + chunk, rows)
    # Sums of the distances to the first row lose no digits to a large mean.
    base = tl.load(x + first * channels + c, mask=inside, other=0.0)
    total = tl.zeros((BC,), tl.float32)
    squares = tl.zeros((BC,), tl.float32)
    for start in range(first, first + chunk, BR):
        row = start + tl.arange(0, BR)
        there = (row < last)[:, None] & inside[None, :]
        value = tl.load(x + row[:, None] * channels + c[None, :], mask=there, other=0.0)
        value = tl.where(there, value - base[None, :], 0.0)
        total += tl.sum(value, axis=0)
        squares += tl.sum(value * value, axis=0)
    number = (last - first).to(tl.float32)
    at = parts + part * 2 * channels + c
    tl.store(at, base + total / number, mask=inside)
    tl.store(at + channels, squares - total * total / number, mask=inside)


@triton.jit
def batch_norm_act(
    x, parts, conv_bias, weight, bias, residual, running_mean, running_var, tracked, y, stats,
    rows, chunk, count, share, channels, eps, momentum, slope,
    SHIFT: tl.constexpr, ADD: tl.constexpr, BP: tl.constexpr, BR: tl.constexpr, BC: tl.constexpr,
):  # fmt: skip
    """y = act(batch norm of x + conv_bias, plus residual); follows the running statistics."""
    c = tl.program_id(1) * BC + tl.arange(0, BC)
    inside = c < channels
    p = tl.arange(0, BP)
    counted = (p < count)[:, None] & inside[None, :]
    number = tl.minimum(tl.maximum(rows - p * chunk, 0), chunk).to(tl.float32)
    number = tl.where(p < count, number, 0.0)[:, None]
    part = parts + p[:, None] * 2 * channels + c[None, :]
    means = tl.load(part, mask=counted, other=0.0)
    mean = tl.sum(means * number, axis=0) / rows
    away = means - mean[None, :]
    squares = tl.load(part + channels, mask=counted, other=0.0) + away * away * number
    variance = tl.maximum(tl.sum(squares, axis=0) / rows, 0.0)
    inverse = 1.0 / tl.sqrt(variance + eps)
    if tl.program_id(0) == 0:
        tl.store(stats + c, mean, mask=inside)
        tl.store(stats + channels + c, inverse, mask=inside)
        seen = mean
        if SHIFT:
            seen += tl.load(conv_bias + c, mask=inside, other=0.0)
        before = tl.load(running_mean + c, mask=inside, other=0.0)
        tl.store(running_mean + c, before + momentum * (seen - before), mask=inside)
        before = tl.load(running_var + c, mask=inside, other=0.0)
        unbiased = variance * (rows / tl.maximum(rows - 1, 1))
        tl.store(running_var + c, before + momentum * (unbiased - before), mask=inside)
        if tl.program_id(1) == 0:
            tl.store(tracked, tl.load(tracked) + 1)
    scale = inverse * tl.load(weight + c, mask=inside, other=0.0)
    shift = tl.load(bias + c, mask=inside, other=0.0)
    first = tl.program_id(0).to(tl.int64) * share
    for start in range(first, first + share, BR):
        row = start + tl.arange(0, BR)
        there = ((row < rows) & (row < first + share))[:, None] & inside[None, :]
        at = row[:, None] * channels + c[None, :]
        value = tl.load(x + at, mask=there, other=0.0)
        value = (value - mean[None, :]) * scale[None, :] + shift[None, :]
        if ADD:
            value += tl.load(residual + at, mask=there, other=0.0)
        tl.store(y + at, tl.where(value > 0, value, value * slope), mask=there)


@triton.jit
def behind_act(grad, x, y, mean, inverse, gain, shift, at, there, slope, ADDED: tl.constexpr):
    """The gradient before the activation, and the normed values, of a tile."""
    g = tl.load(grad + at, mask=there, other=0.0)
    normed = (tl.load(x + at, mask=there, other=0.0) - mean[None, :]) * inverse[None, :]
    if ADDED:
        value = tl.load(y + at, mask=there, other=0.0)
    else:
        value = normed * gain[None, :] + shift[None, :]
    return tl.where(value > 0, g, g * slope), tl.where(there, normed, 0.0)


@triton.jit
def batch_norm_sums(
    grad, x, y, stats, weight, bias, parts, rows, chunk, channels, slope,
    ADDED: tl.constexpr, BR: tl.constexpr, BC: tl.constexpr,
):  # fmt: skip
    """Part sums (parts, 2, C) of the gradient behind the activation times the normed x, and alone.

    ADDED: a residual was added, so the sign is that of y.
    """
    part = tl.program_id(0).to(tl.int64)
    c = tl.program_id(1) * BC + tl.arange(0, BC)
    inside = c < channels
    mean = tl.load(stats + c, mask=inside, other=0.0)
    inverse = tl.load(stats + channels + c, mask=inside, other=0.0)
    gain = tl.load(weight + c, mask=inside, other=0.0)
    shift = tl.load(bias + c, mask=inside, other=0.0)
    with_x = tl.zeros((BC,), tl.float32)
    alone = tl.zeros((BC,), tl.float32)
    first = part * chunk
    for start in range(first, first + chunk, BR):
        row = start + tl.arange(0, BR)
        there = ((row < rows) & (row < first + chunk))[:, None] & inside[None, :]
        at = row[:, None] * channels + c[None, :]
        g, normed = behind_act(grad, x, y, mean, inverse, gain, shift, at, there, slope, ADDED)
        with_x += tl.sum(g * normed, axis=0)
        alone += tl.sum(g, axis=0)
    at = parts + part * 2 * channels + c
    tl.store(at, with_x, mask=inside)
    tl.store(at + channels, alone, mask=inside)


@triton.jit
def batch_norm_grad(
    grad, x, y, stats, weight, bias, parts, out, residual_grad, params, rows, count, share,
    channels, slope, ADDED: tl.constexpr, BP: tl.constexpr, BR: tl.constexpr, BC: tl.constexpr,
):  # fmt: skip
    """The gradients of x, of the residual, and (3, C) of weight, bias and the convolution's bias.

    The last is zero: the norm takes away what a bias adds.
    """
    c = tl.program_id(1) * BC + tl.arange(0, BC)
    inside = c < channels
    p = tl.arange(0, BP)
    counted = (p < count)[:, None] & inside[None, :]
    part = parts + p[:, None] * 2 * channels + c[None, :]
    with_x = tl.sum(tl.load(part, mask=counted, other=0.0), axis=0)
    alone = tl.sum(tl.load(part + channels, mask=counted, other=0.0), axis=0)
    if tl.program_id(0) == 0:
        tl.store(params + c, with_x, mask=inside)
        tl.store(params + channels + c, alone, mask=inside)
        tl.store(params + 2 * channels + c, tl.zeros((BC,), tl.float32), mask=inside)
    mean = tl.load(stats + c, mask=inside, other=0.0)
    inverse = tl.load(stats + channels + c, mask=inside, other=0.0)
    gain = tl.load(weight + c, mask=inside, other=0.0)
    shift = tl.load(bias + c, mask=inside, other=0.0)
    first = tl.program_id(0).to(tl.int64) * share
    for start in range(first, first + share, BR):
        row = start + tl.arange(0, BR)
        there = ((row < rows) & (row < first + share))[:, None] & inside[None, :]
        at = row[:, None] * channels + c[None, :]
        g, normed = behind_act(grad, x, y, mean, inverse, gain, shift, at, there, slope, ADDED)
        if ADDED:
            tl.store(residual_grad + at, g, mask=there)
        value = g - (alone / rows)[None, :] - normed * (with_x / rows)[None, :]
        tl.store(out + at, value * (inverse * gain)[None, :], mask=there)
