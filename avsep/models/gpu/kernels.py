"""Triton kernels on (B, T, C) float32 sequences, channels last. `ops` has their PyTorch side.

Importing this module needs Triton. All sums are in a fixed order, so results are deterministic.
"""

# Triton reads the annotation `tl.constexpr` itself, so annotations stay evaluated here.
# mypy: ignore-errors

import triton
import triton.language as tl


@triton.jit
def gelu(x):
    """The exact GELU."""
    return 0.5 * x * (1.0 + tl.erf(x * 0.7071067811865476))


@triton.jit
def mirrored(i, length):
    """Indices beyond both ends, reflected with half-sample symmetry as often as needed."""
    period = 2 * length
    i = ((i % period) + period) % period
    return tl.where(i >= length, period - 1 - i, i)


@triton.jit
def depthwise(
    x, weight, bias, y, t_in, t_out, c_out, taps, stride, pad, x_b, x_t, y_b, y_t,
    COPIES: tl.constexpr, MIRROR: tl.constexpr, BIAS: tl.constexpr, GELU: tl.constexpr,
    BT: tl.constexpr, BC: tl.constexpr,
):  # fmt: skip
    """y[b, t, o] = sum_k w[o, k] x[b, t stride + k - pad, o // COPIES] + bias[o]."""
    item = tl.program_id(2).to(tl.int64)
    t = tl.program_id(0) * BT + tl.arange(0, BT)
    c = tl.program_id(1) * BC + tl.arange(0, BC)
    inside = c < c_out
    total = tl.zeros((BT, BC), tl.float32)
    for k in range(taps):
        i = t * stride + k - pad
        if MIRROR:
            i = mirrored(i, t_in)
        there = ((i >= 0) & (i < t_in))[:, None] & inside[None, :]
        at = x + item * x_b + i[:, None] * x_t + (c // COPIES)[None, :]
        values = tl.load(at, mask=there, other=0.0)
        total += values * tl.load(weight + c * taps + k, mask=inside, other=0.0)[None, :]
    if BIAS:
        total += tl.load(bias + c, mask=inside, other=0.0)[None, :]
    if GELU:
        total = gelu(total)
    at = y + item * y_b + t[:, None] * y_t + c[None, :]
    tl.store(at, total, mask=(t < t_out)[:, None] & inside[None, :])


@triton.jit
def depthwise_input_grad(
    grad, weight, out, t_in, t_out, c_in, taps, stride, pad, g_b, g_t,
    COPIES: tl.constexpr, BT: tl.constexpr, BC: tl.constexpr,
):  # fmt: skip
    """The gradient of x in `depthwise` without mirrored ends; `out` is contiguous."""
    item = tl.program_id(2).to(tl.int64)
    i = tl.program_id(0) * BT + tl.arange(0, BT)
    c = tl.program_id(1) * BC + tl.arange(0, BC)
    inside = c < c_in
    total = tl.zeros((BT, BC), tl.float32)
    for k in range(taps):
        shifted = i + pad - k
        t = shifted // stride
        there = (shifted >= 0) & (t * stride == shifted) & (t < t_out)
        for copy in range(COPIES):
            o = c * COPIES + copy
            at = grad + item * g_b + t[:, None] * g_t + o[None, :]
            values = tl.load(at, mask=there[:, None] & inside[None, :], other=0.0)
            total += values * tl.load(weight + o * taps + k, mask=inside, other=0.0)[None, :]
    at = out + item * t_in * c_in + i[:, None] * c_in + c[None, :]
    tl.store(at, total, mask=(i < t_in)[:, None] & inside[None, :])


@triton.jit
def depthwise_weight_grad(
    x, grad, parts, rows, chunk, t_in, t_out, c_out, taps, stride, pad, x_b, x_t, g_b, g_t,
    COPIES: tl.constexpr, BT: tl.constexpr, BC: tl.constexpr,
):  # fmt: skip
    """Part sums (parts, C taps + C) of the gradients of weight and bias; one tap per program."""
    part = tl.program_id(0)
    c = tl.program_id(1) * BC + tl.arange(0, BC)
    k = tl.program_id(2)
    inside = c < c_out
    total = tl.zeros((BC,), tl.float32)
    for start in range(part * chunk, part * chunk + chunk, BT):
        row = start + tl.arange(0, BT)
        item = (row // t_out).to(tl.int64)
        t = row % t_out
        there = (row < rows) & (row < part * chunk + chunk)
        at = grad + item[:, None] * g_b + t[:, None] * g_t + c[None, :]
        values = tl.load(at, mask=there[:, None] & inside[None, :], other=0.0)
        if k < taps:
            i = t * stride + k - pad
            there = there & (i >= 0) & (i < t_in)
            at = x + item[:, None] * x_b + i[:, None] * x_t + (c // COPIES)[None, :]
            values *= tl.load(at, mask=there[:, None] & inside[None, :], other=0.0)
        total += tl.sum(values, axis=0)
    place = tl.where(k < taps, c * taps + k, c_out * taps + c)
    tl.store(parts + part * (c_out * (taps + 1)) + place, total, mask=inside)


@triton.jit
def blur_taps(
    k, taps, by_k, channels, radius, frequencies,
    SLOPE: tl.constexpr, BR: tl.constexpr, BG: tl.constexpr,
):  # fmt: skip
    """The filter of one channel and its derivative by k; see `blur.taps`."""
    c = tl.program_id(0)
    lag = tl.arange(0, BR)
    omega_step = 3.141592653589793 / frequencies
    value = tl.load(k + c)
    half = tl.zeros((BR,), tl.float32)
    half_by_k = tl.zeros((BR,), tl.float32)
    for start in range(0, frequencies + 1, BG):
        g = start + tl.arange(0, BG)
        omega = g * omega_step
        ends = (g == 0) | (g == frequencies)
        weight = tl.where(ends, 0.5, 1.0) / frequencies
        response = tl.where(g <= frequencies, weight * tl.exp(-value * omega * omega), 0.0)
        # The angle modulo a turn in integers, so that large angles lose no digits.
        turn = (g[:, None] * lag[None, :]) % (2 * frequencies)
        cosines = tl.cos(turn * omega_step)
        half += tl.sum(response[:, None] * cosines, axis=0)
        if SLOPE:
            half_by_k += tl.sum((-omega * omega * response)[:, None] * cosines, axis=0)
    used = lag <= radius
    twice = tl.where(used, tl.where(lag == 0, 1.0, 2.0), 0.0)
    total = tl.sum(half * twice, axis=0)
    row = c * (2 * radius + 1) + radius
    tl.store(taps + row + lag, half / total, mask=used)
    tl.store(taps + row - lag, half / total, mask=used)
    if SLOPE:
        total_by_k = tl.sum(half_by_k * twice, axis=0)
        slope = (half_by_k - half * (total_by_k / total)) / total
        tl.store(by_k + row + lag, slope, mask=used)
        tl.store(by_k + row - lag, slope, mask=used)


@triton.jit
def moments(x, parts, size, chunk, count, BLOCK: tl.constexpr):
    """Mean and sum of squared deviations of each chunk of an item: parts (B, count, 2)."""
    part = tl.program_id(0)
    item = tl.program_id(1).to(tl.int64)
    first = part * chunk
    last = tl.minimum(first + chunk, size)
    total = tl.zeros((BLOCK,), tl.float32)
    for start in range(first, first + chunk, BLOCK):
        i = start + tl.arange(0, BLOCK)
        total += tl.load(x + item * size + i, mask=i < last, other=0.0)
    mean = tl.sum(total, axis=0) / (last - first)
    squares = tl.zeros((BLOCK,), tl.float32)
    for start in range(first, first + chunk, BLOCK):
        i = start + tl.arange(0, BLOCK)
        away = tl.load(x + item * size + i, mask=i < last, other=0.0) - mean
        squares += tl.where(i < last, away * away, 0.0)
    at = parts + (item * count + part) * 2
    tl.store(at, mean)
    tl.store(at + 1, tl.sum(squares, axis=0))


@triton.jit
def normalise(
    x, parts, weight, bias, slope, scale, residual, y, stats, size, channels, chunk, count, eps,
    ACT: tl.constexpr, ADD: tl.constexpr, BP: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """(x - mean) / deviation * weight + bias, then GELU (1), PReLU (2); plus a residual (ADD)."""
    item = tl.program_id(1).to(tl.int64)
    p = tl.arange(0, BP)
    n = tl.minimum(tl.maximum(size - p * chunk, 0), chunk).to(tl.float32)
    means = tl.load(parts + (item * count + p) * 2, mask=p < count, other=0.0)
    squares = tl.load(parts + (item * count + p) * 2 + 1, mask=p < count, other=0.0)
    n = tl.where(p < count, n, 0.0)
    mean = tl.sum(means * n, axis=0) / size
    away = means - mean
    variance = (tl.sum(squares, axis=0) + tl.sum(away * away * n, axis=0)) / size
    inverse = 1.0 / tl.sqrt(variance + eps)
    if tl.program_id(0) == 0:
        tl.store(stats + item * 2, mean)
        tl.store(stats + item * 2 + 1, inverse)
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    there = i < size
    c = i % channels
    value = tl.load(x + item * size + i, mask=there, other=0.0)
    value = (value - mean) * inverse * tl.load(weight + c) + tl.load(bias + c)
    if ACT == 1:
        value = gelu(value)
    if ACT == 2:
        value = tl.where(value >= 0, value, value * tl.load(slope))
    if ADD:
        value = tl.load(residual + item * size + i, mask=there, other=0.0) + value * tl.load(
            scale + c
        )
    tl.store(y + item * size + i, value, mask=there)


@triton.jit
def normalise_sums(
    x, grad, stats, parts, length, channels, chunk, count, BT: tl.constexpr, BC: tl.constexpr
):
    """Part sums (B, count, 2, C) of grad * normalised x and of grad, over time."""
    part = tl.program_id(0)
    item = tl.program_id(1).to(tl.int64)
    c = tl.arange(0, BC)
    mean = tl.load(stats + item * 2)
    inverse = tl.load(stats + item * 2 + 1)
    with_x = tl.zeros((BC,), tl.float32)
    alone = tl.zeros((BC,), tl.float32)
    for start in range(part * chunk, part * chunk + chunk, BT):
        t = start + tl.arange(0, BT)
        there = ((t < length) & (t < part * chunk + chunk))[:, None] & (c < channels)[None, :]
        at = item * length * channels + t[:, None] * channels + c[None, :]
        g = tl.load(grad + at, mask=there, other=0.0)
        normed = (tl.load(x + at, mask=there, other=0.0) - mean) * inverse
        with_x += tl.sum(g * normed, axis=0)
        alone += tl.sum(g, axis=0)
    at = parts + (item * count + part) * 2 * channels + c
    tl.store(at, with_x, mask=c < channels)
    tl.store(at + channels, alone, mask=c < channels)


@triton.jit
def normalise_grad(
    x, grad, stats, sums, weight, out, size, channels, BC: tl.constexpr, BLOCK: tl.constexpr
):
    """The gradient of x in `normalise`; sums (B, 2, C) are those of `normalise_sums`."""
    item = tl.program_id(1).to(tl.int64)
    mean = tl.load(stats + item * 2)
    inverse = tl.load(stats + item * 2 + 1)
    c = tl.arange(0, BC)
    gains = tl.load(weight + c, mask=c < channels, other=0.0)
    at = sums + item * 2 * channels + c
    along_x = tl.sum(gains * tl.load(at, mask=c < channels, other=0.0), axis=0) / size
    along_1 = tl.sum(gains * tl.load(at + channels, mask=c < channels, other=0.0), axis=0) / size
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    there = i < size
    g = tl.load(grad + item * size + i, mask=there, other=0.0) * tl.load(weight + i % channels)
    normed = (tl.load(x + item * size + i, mask=there, other=0.0) - mean) * inverse
    tl.store(out + item * size + i, inverse * (g - along_1 - normed * along_x), mask=there)


@triton.jit
def norm_gate(
    x, gates, weight, bias, y, rows, channels, gate_row, eps, BR: tl.constexpr, BC: tl.constexpr
):
    """Layer norm of x over channels, times SiLU of the gates."""
    row = (tl.program_id(0) * BR + tl.arange(0, BR)).to(tl.int64)
    c = tl.arange(0, BC)
    there = (row < rows)[:, None] & (c < channels)[None, :]
    at = row[:, None] * channels + c[None, :]
    value = tl.load(x + at, mask=there, other=0.0)
    mean = tl.sum(value, axis=1) / channels
    away = tl.where(there, value - mean[:, None], 0.0)
    inverse = 1.0 / tl.sqrt(tl.sum(away * away, axis=1) / channels + eps)
    gain = tl.load(weight + c, mask=c < channels, other=0.0)
    shift = tl.load(bias + c, mask=c < channels, other=0.0)
    gate = tl.load(gates + row[:, None] * gate_row + c[None, :], mask=there, other=0.0)
    normed = away * inverse[:, None] * gain[None, :] + shift[None, :]
    tl.store(y + at, normed * gate / (1.0 + tl.exp(-gate)), mask=there)


@triton.jit
def norm_gate_grad(
    x, gates, weight, bias, grad, x_grad, gate_grad, parts, rows, chunk, channels, gate_row, eps,
    BR: tl.constexpr, BC: tl.constexpr,
):  # fmt: skip
    """All gradients of `norm_gate`; those of weight and bias as part sums (parts, 2 C)."""
    part = tl.program_id(0)
    c = tl.arange(0, BC)
    gain = tl.load(weight + c, mask=c < channels, other=0.0)
    shift = tl.load(bias + c, mask=c < channels, other=0.0)
    of_gain = tl.zeros((BC,), tl.float32)
    of_shift = tl.zeros((BC,), tl.float32)
    for start in range(part * chunk, part * chunk + chunk, BR):
        row = (start + tl.arange(0, BR)).to(tl.int64)
        there = ((row < rows) & (row < part * chunk + chunk))[:, None] & (c < channels)[None, :]
        at = row[:, None] * channels + c[None, :]
        value = tl.load(x + at, mask=there, other=0.0)
        mean = tl.sum(value, axis=1) / channels
        away = tl.where(there, value - mean[:, None], 0.0)
        inverse = 1.0 / tl.sqrt(tl.sum(away * away, axis=1) / channels + eps)
        normed = away * inverse[:, None]
        gate_at = row[:, None] * gate_row + c[None, :]
        gate = tl.load(gates + gate_at, mask=there, other=0.0)
        g = tl.load(grad + at, mask=there, other=0.0)
        sigmoid = 1.0 / (1.0 + tl.exp(-gate))
        of_normed = g * gate * sigmoid
        of_gate = (normed * gain[None, :] + shift[None, :]) * g
        of_gate = of_gate * sigmoid * (1.0 + gate * (1.0 - sigmoid))
        tl.store(gate_grad + gate_at, of_gate, mask=there)
        of_gain += tl.sum(of_normed * normed, axis=0)
        of_shift += tl.sum(of_normed, axis=0)
        inner = of_normed * gain[None, :]
        along_1 = tl.sum(inner, axis=1) / channels
        along_x = tl.sum(inner * normed, axis=1) / channels
        inner = inverse[:, None] * (inner - along_1[:, None] - normed * along_x[:, None])
        tl.store(x_grad + at, inner, mask=there)
    at = parts + part * 2 * channels + c
    tl.store(at, of_gain, mask=c < channels)
    tl.store(at + channels, of_shift, mask=c < channels)


@triton.jit
def attention(
    query, key, value, positions, y, length, channels, head_size, factor,
    POSITIONS: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr, BD: tl.constexpr,
):  # fmt: skip
    """Softmax attention with the scores q.(k + p(i - j)), without a table of all pairs."""
    item = tl.program_id(2).to(tl.int64)
    base = item * length * channels + tl.program_id(1) * head_size
    i = tl.program_id(0) * BM + tl.arange(0, BM)
    d = tl.arange(0, BD)
    rows = (i < length)[:, None] & (d < head_size)[None, :]
    q = tl.load(query + base + i[:, None] * channels + d[None, :], mask=rows, other=0.0) * factor
    largest = tl.full((BM,), float("-inf"), tl.float32)
    weights = tl.zeros((BM,), tl.float32)
    total = tl.zeros((BM, BD), tl.float32)
    for start in range(0, length, BN):
        j = start + tl.arange(0, BN)
        there = (j < length)[:, None] & (d < head_size)[None, :]
        at = base + j[:, None] * channels + d[None, :]
        k = tl.load(key + at, mask=there, other=0.0)
        scores = tl.dot(q, tl.trans(k), input_precision="ieee")
        if POSITIONS:
            place = length - 1 - i[:, None] + j[None, :]
            valid = (i < length)[:, None] & (j < length)[None, :]
            for e in range(head_size):
                column = tl.load(query + base + i * channels + e, mask=i < length, other=0.0)
                entry = tl.load(positions + place * head_size + e, mask=valid, other=0.0)
                scores += (column * factor)[:, None] * entry
        scores = tl.where((j < length)[None, :], scores, float("-inf"))
        higher = tl.maximum(largest, tl.max(scores, axis=1))
        shares = tl.exp(scores - higher[:, None])
        fade = tl.exp(largest - higher)
        weights = weights * fade + tl.sum(shares, axis=1)
        v = tl.load(value + at, mask=there, other=0.0)
        total = total * fade[:, None] + tl.dot(shares, v, input_precision="ieee")
        largest = higher
    at = y + base + i[:, None] * channels + d[None, :]
    tl.store(at, total / weights[:, None], mask=rows)


@triton.jit
def blur_k_grad(
    x, grad, by_k, parts, length, channels, taps, pad, chunk, count, x_b, x_t,
    BT: tl.constexpr, BC: tl.constexpr,
):  # fmt: skip
    """Part sums (B, count, C) of x times the gradient filtered by the derivative of the taps."""
    part = tl.program_id(0)
    item = tl.program_id(1).to(tl.int64)
    c = tl.program_id(2) * BC + tl.arange(0, BC)
    inside = c < channels
    total = tl.zeros((BC,), tl.float32)
    for start in range(part * chunk, part * chunk + chunk, BT):
        t = start + tl.arange(0, BT)
        there = ((t < length) & (t < part * chunk + chunk))[:, None] & inside[None, :]
        filtered = tl.zeros((BT, BC), tl.float32)
        for k in range(taps):
            i = mirrored(t + k - pad, length)
            at = grad + (item * length + i[:, None]) * channels + c[None, :]
            slope = tl.load(by_k + c * taps + k, mask=inside, other=0.0)
            filtered += tl.load(at, mask=there, other=0.0) * slope[None, :]
        at = x + item * x_b + t[:, None] * x_t + c[None, :]
        total += tl.sum(filtered * tl.load(at, mask=there, other=0.0), axis=0)
    tl.store(parts + (item * count + part) * channels + c, total, mask=inside)
