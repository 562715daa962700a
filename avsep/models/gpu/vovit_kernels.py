"""Triton kernels of VoViT alone: its graph, its spectra and what joins its parts; see `vovit_ops`.

Shapes: N frames of a batch, V landmarks, K = 3 edge groups, C channels, T spectral frames, F bins.
"""

# mypy: ignore-errors

import triton
import triton.language as tl


@triton.jit
def graph_mix(
    groups, edges, importance, mean, variance, weight, bias, y, nodes, channels, eps,
    NORM: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """y[n, w, c] = sum_k sum_v edges[k, v, w] importance[k, v, w] groups[n, v, k, c], |v - w| <= 1.

    With NORM, followed by a batch norm of given statistics and a ReLU.
    """
    item = tl.program_id(0).to(tl.int64) * nodes * channels
    i = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    c = i % channels
    w = i // channels
    total = tl.zeros((BLOCK,), tl.float32)
    for k in tl.static_range(3):
        for step in tl.static_range(3):
            v = w + step - 1
            there = (w < nodes) & (v >= 0) & (v < nodes)
            at = (k * nodes + v) * nodes + w
            edge = tl.load(edges + at, mask=there, other=0.0)
            edge *= tl.load(importance + at, mask=there, other=0.0)
            place = groups + item * 3 + (v * 3 + k) * channels + c
            total += edge * tl.load(place, mask=there, other=0.0)
    if NORM:
        scale = tl.load(weight + c) / tl.sqrt(tl.load(variance + c) + eps)
        total = (total - tl.load(mean + c)) * scale + tl.load(bias + c)
        total = tl.maximum(total, 0.0)
    tl.store(y + item + i, total, mask=w < nodes)


@triton.jit
def graph_mix_grad(grad, edges, importance, out, nodes, channels, BLOCK: tl.constexpr):
    """The gradient of the groups (N, V, K, C) in `graph_mix`."""
    item = tl.program_id(0).to(tl.int64) * nodes * channels
    i = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    c = i % channels
    k = (i // channels) % 3
    v = i // (3 * channels)
    total = tl.zeros((BLOCK,), tl.float32)
    for step in tl.static_range(3):
        w = v + step - 1
        there = (v < nodes) & (w >= 0) & (w < nodes)
        at = (k * nodes + v) * nodes + w
        edge = tl.load(edges + at, mask=there, other=0.0)
        edge *= tl.load(importance + at, mask=there, other=0.0)
        total += edge * tl.load(grad + item + w * channels + c, mask=there, other=0.0)
    tl.store(out + item * 3 + i, total, mask=v < nodes)


@triton.jit
def graph_importance_grad(
    groups, grad, edges, out, items, nodes, channels,
    BN: tl.constexpr, BC: tl.constexpr, BV: tl.constexpr,
):  # fmt: skip
    """The gradient (K, V, V) of the importance, zero where there is no edge; a row per program."""
    k = tl.program_id(0) // nodes
    v = tl.program_id(0) % nodes
    all_w = tl.arange(0, BV)
    row_sums = tl.zeros((BV,), tl.float32)
    for step in tl.static_range(3):
        w = v + step - 1
        inside = (w >= 0) & (w < nodes)
        edge = tl.load(edges + (k * nodes + v) * nodes + w, mask=inside, other=0.0)
        if edge != 0.0:
            total = tl.zeros((BN,), tl.float32)
            for start in range(0, items, BN):
                n = (start + tl.arange(0, BN)).to(tl.int64)
                for first in range(0, channels, BC):
                    c = first + tl.arange(0, BC)
                    there = (n < items)[:, None] & (c < channels)[None, :]
                    row = n[:, None] * nodes * channels
                    given = tl.load(grad + row + w * channels + c[None, :], mask=there, other=0.0)
                    at = groups + row * 3 + (v * 3 + k) * channels + c[None, :]
                    total += tl.sum(given * tl.load(at, mask=there, other=0.0), axis=1)
            row_sums += tl.where(all_w == w, tl.sum(total, axis=0) * edge, 0.0)
    at = out + (k * nodes + v) * nodes + all_w
    tl.store(at, row_sums, mask=all_w < nodes)


@triton.jit
def join_features(
    points, audio, y, frames, nodes, channels, times, bins, maps,
    BV: tl.constexpr, BC: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Features (B, T, C + M F): the mean over landmarks of the frame at that time, and the audio.

    points (B, frames, V, C); audio (B, T, F, M), read as (M F).
    """
    item = tl.program_id(1).to(tl.int64)
    t = tl.program_id(0)
    width = channels + maps * bins
    row = y + (item * times + t) * width
    frame = t * frames // times
    v = tl.arange(0, BV)
    for first in range(0, channels, BC):
        c = first + tl.arange(0, BC)
        there = (v < nodes)[:, None] & (c < channels)[None, :]
        at = points + ((item * frames + frame) * nodes + v[:, None]) * channels + c[None, :]
        total = tl.sum(tl.load(at, mask=there, other=0.0), axis=0)
        tl.store(row + c, total / nodes, mask=c < channels)
    for first in range(0, maps * bins, BLOCK):
        i = first + tl.arange(0, BLOCK)
        at = audio + (item * times + t) * maps * bins + (i % bins) * maps + i // bins
        value = tl.load(at, mask=i < maps * bins, other=0.0)
        tl.store(row + channels + i, value, mask=i < maps * bins)


@triton.jit
def join_features_grad(
    grad, out, frames, nodes, channels, times, width, BV: tl.constexpr, BC: tl.constexpr
):  # fmt: skip
    """The gradient of the points (B, frames, V, C) in `join_features`."""
    item = tl.program_id(1).to(tl.int64)
    frame = tl.program_id(0)
    first_t = (frame * times + frames - 1) // frames
    last_t = ((frame + 1) * times + frames - 1) // frames
    v = tl.arange(0, BV)
    for first in range(0, channels, BC):
        c = first + tl.arange(0, BC)
        total = tl.zeros((BC,), tl.float32)
        for t in range(first_t, last_t):
            at = grad + (item * times + t) * width + c
            total += tl.load(at, mask=c < channels, other=0.0)
        there = (v < nodes)[:, None] & (c < channels)[None, :]
        at = out + ((item * frames + frame) * nodes + v[:, None]) * channels + c[None, :]
        tl.store(at, (total / nodes)[None, :], mask=there)


@triton.jit
def add_positions(
    x, by_time, by_feature, y, turned, times, width, slope, BT: tl.constexpr, BD: tl.constexpr
):
    """y = leaky(x) + by_time, (B, T, D), and `turned` = y transposed + by_feature, (B, D, T)."""
    item = tl.program_id(2).to(tl.int64) * times * width
    t = (tl.program_id(0) * BT + tl.arange(0, BT))[:, None]
    d = (tl.program_id(1) * BD + tl.arange(0, BD))[None, :]
    there = (t < times) & (d < width)
    value = tl.load(x + item + t * width + d, mask=there, other=0.0)
    value = tl.where(value > 0, value, value * slope)
    value += tl.load(by_time + t * width + d, mask=there, other=0.0)
    tl.store(y + item + t * width + d, value, mask=there)
    value += tl.load(by_feature + d * times + t, mask=there, other=0.0)
    tl.store(turned + item + d * times + t, value, mask=there)


@triton.jit
def add_positions_grad(
    x, grad, turned_grad, out, times, width, slope, BT: tl.constexpr, BD: tl.constexpr
):
    """The gradient of x in `add_positions`."""
    item = tl.program_id(2).to(tl.int64) * times * width
    t = (tl.program_id(0) * BT + tl.arange(0, BT))[:, None]
    d = (tl.program_id(1) * BD + tl.arange(0, BD))[None, :]
    there = (t < times) & (d < width)
    g = tl.load(grad + item + t * width + d, mask=there, other=0.0)
    g += tl.load(turned_grad + item + d * times + t, mask=there, other=0.0)
    value = tl.load(x + item + t * width + d, mask=there, other=0.0)
    tl.store(out + item + t * width + d, tl.where(value > 0, g, g * slope), mask=there)


@triton.jit
def hann(j, size):
    """The periodic Hann window."""
    return 0.5 - 0.5 * tl.cos(6.283185307179586 * j.to(tl.float32) / size)


@triton.jit
def windows(x, y, samples, times, size, hop, scale, BLOCK: tl.constexpr):
    """Windowed frames (B, T, size) around multiples of the hop; the ends are reflected."""
    item = tl.program_id(1).to(tl.int64)
    t = tl.program_id(0)
    for first in range(0, size, BLOCK):
        j = first + tl.arange(0, BLOCK)
        i = t * hop + j - size // 2
        i = tl.where(i < 0, -i, i)
        i = tl.where(i >= samples, 2 * (samples - 1) - i, i)
        value = tl.load(x + item * samples + i, mask=j < size, other=0.0)
        value *= hann(j, size) * scale
        tl.store(y + (item * times + t) * size + j, value, mask=j < size)


@triton.jit
def overlap_add(frames, y, samples, times, size, hop, TERMS: tl.constexpr, BLOCK: tl.constexpr):
    """Windowed frames (B, T, size) added up and divided by the sum of squared windows."""
    item = tl.program_id(1).to(tl.int64)
    s = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    place = s + size // 2
    total = tl.zeros((BLOCK,), tl.float32)
    squares = tl.zeros((BLOCK,), tl.float32)
    for back in tl.static_range(TERMS):
        t = place // hop - back
        j = place - t * hop
        there = (s < samples) & (t >= 0) & (t < times) & (j < size)
        window = tl.where(there, hann(j, size), 0.0)
        value = tl.load(frames + (item * times + t) * size + j, mask=there, other=0.0)
        total += value * window
        squares += window * window
    squares = tl.where(s < samples, squares, 1.0)
    tl.store(y + item * samples + s, total / squares, mask=s < samples)


@triton.jit
def apply_mask(logits, mixture, mask, out, bins, stride, factor, BLOCK: tl.constexpr):
    """The mask (B, T, M, 2) = factor * logits (B, T, 2, M), and mask * mixture (B, T, F, 2).

    Each value of the mask covers `stride` neighbouring bins; numbers are complex.
    """
    row = tl.program_id(0).to(tl.int64)
    masks = bins // stride
    for first in range(0, bins, BLOCK):
        f = first + tl.arange(0, BLOCK)
        inside = f < bins
        m = f // stride
        real = factor * tl.load(logits + row * 2 * masks + m, mask=inside, other=0.0)
        imag = factor * tl.load(logits + (row * 2 + 1) * masks + m, mask=inside, other=0.0)
        at = (row * bins + f) * 2
        x = tl.load(mixture + at, mask=inside, other=0.0)
        y = tl.load(mixture + at + 1, mask=inside, other=0.0)
        tl.store(out + at, real * x - imag * y, mask=inside)
        tl.store(out + at + 1, real * y + imag * x, mask=inside)
        once = inside & (f % stride == 0)
        tl.store(mask + (row * masks + m) * 2, real, mask=once)
        tl.store(mask + (row * masks + m) * 2 + 1, imag, mask=once)
