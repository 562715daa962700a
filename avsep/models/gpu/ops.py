"""PyTorch operations around the Triton kernels, and when they are used.

Each operation is one kernel, is known to `torch.compile` (its shapes are declared) and runs on meta
tensors, so that launches can be counted without a GPU.
"""

from __future__ import annotations

import importlib.util
import os
import warnings
from functools import cache
from typing import Any

import torch
from torch import Tensor

WANTED = os.environ.get("AVSEP_TRITON") != "0"
HAS_TRITON = importlib.util.find_spec("triton") is not None
# Triton then runs its kernels in Python, on the CPU: slowly, for tests.
INTERPRETED = HAS_TRITON and os.environ.get("TRITON_INTERPRET") == "1"
MOST_PARTS = 512  # part sums of a reduction; the kernel after it reads them all
BLOCK = 4096  # elements per program of an elementwise kernel
FREQUENCIES = 256  # steps from 0 to pi in the sum that gives the taps of a blur


def usable(x: Tensor) -> bool:
    """Whether the kernels serve `x`: float32 on a GPU with Triton, or a stand-in for one."""
    if not WANTED or x.dtype != torch.float32:
        return False
    if x.is_meta or not HAS_TRITON:
        return x.is_meta
    if x.is_cuda:  # what is being compiled for a GPU needs Triton anyway
        return torch.compiler.is_compiling() or _launches(x.device)
    return INTERPRETED and x.is_cpu


@cache
def _launches(device: torch.device) -> bool:
    """Whether a kernel runs: Triton also needs a C compiler, and a driver and GPU that it knows."""
    try:
        moments(torch.ones(1, 1, 1, device=device))
    except Exception as error:  # of the compiler, of the driver, of Triton itself
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        warnings.warn(
            f"Triton does not work on {device}, so models run without its kernels, more slowly"
            f" ({reason}); AVSEP_TRITON=0 does so without this warning.",
            stacklevel=2,
        )
        return False
    return True


def check_inputs(*tensors: Tensor | None) -> None:
    """Pass float32 inputs, which are what the kernels read, and launch where the first one is."""
    for x in tensors:
        assert x is None or x.dtype == torch.float32, f"the kernels read float32, not {x.dtype}"
    first = tensors[0]
    if first is not None and first.is_cuda and first.get_device() != torch.cuda.current_device():
        torch.cuda.set_device(first.device)  # Triton launches on the thread's device


def _kernels(*inputs: Tensor | None) -> Any:
    check_inputs(*inputs)
    from avsep.models.gpu import kernels

    return kernels


def power(number: int) -> int:
    """The smallest power of two that is not below a number."""
    return 1 << max(number - 1, 0).bit_length()


def _parts(rows: int, smallest: int, cap: int = MOST_PARTS) -> tuple[int, int]:
    """Rows per part, a multiple of `smallest`, and number of parts."""
    chunk = -(-max(-(-rows // cap), smallest) // smallest) * smallest
    return chunk, -(-rows // chunk)


@torch.library.custom_op("avsep::depthwise", mutates_args=("out",))
def depthwise_into(
    x: Tensor, weight: Tensor, bias: Tensor | None, out: Tensor, stride: int, mirror: bool,
    gelu: bool,
) -> None:  # fmt: skip
    """Filter each channel over time into `out` (B, T', C n), from x (B, T, C), weight (C n, K).

    Both may be slices of wider tensors along the channels. With n > 1 copies of each channel,
    outputs j n .. j n + n - 1 come from channel j. `mirror`: the ends are reflected, not zero.
    """
    t_out, c_out = out.shape[1:]
    block = 32 if c_out <= 64 else 16
    channels = min(power(c_out), 128)
    taps = weight.shape[-1]
    grid = (-(-t_out // block), -(-c_out // channels), len(x))
    _kernels(x, weight, bias, out).depthwise[grid](
        x, weight, bias if bias is not None else weight, out, x.shape[1], t_out, c_out, taps,
        stride, taps // 2, x.stride(0), x.stride(1), out.stride(0), out.stride(1),
        COPIES=c_out // x.shape[2], MIRROR=mirror, BIAS=bias is not None, GELU=gelu,
        BT=block, BC=channels,
    )  # fmt: skip


@depthwise_into.register_fake
def _(x, weight, bias, out, stride, mirror, gelu):  # type: ignore[no-untyped-def]
    return None


@torch.library.custom_op("avsep::depthwise_input_grad", mutates_args=())
def depthwise_input_grad(grad: Tensor, weight: Tensor, length: int, stride: int, c: int) -> Tensor:
    """The gradient of x, (B, length, c)."""
    out = grad.new_empty(len(grad), length, c)
    channels, taps = min(power(c), 128), weight.shape[-1]
    grid = (-(-length // 16), -(-c // channels), len(grad))
    _kernels(grad, weight).depthwise_input_grad[grid](
        grad, weight, out, length, grad.shape[1], c, taps, stride, taps // 2,
        grad.stride(0), grad.stride(1), COPIES=grad.shape[2] // c, BT=16, BC=channels,
    )  # fmt: skip
    return out


@depthwise_input_grad.register_fake
def _(grad, weight, length, stride, c):  # type: ignore[no-untyped-def]
    return grad.new_empty(len(grad), length, c)


@torch.library.custom_op("avsep::depthwise_weight_grad", mutates_args=())
def depthwise_weight_grad(x: Tensor, grad: Tensor, taps: int, stride: int) -> Tensor:
    """Part sums (P, C K + C) of the gradients of weight and bias."""
    batch, t_out, c_out = grad.shape
    rows = batch * t_out
    chunk, parts = _parts(rows, 64, 128)
    out = grad.new_empty(parts, c_out * (taps + 1))
    channels = min(power(c_out), 128)
    _kernels(x, grad).depthwise_weight_grad[(parts, -(-c_out // channels), taps + 1)](
        x, grad, out, rows, chunk, x.shape[1], t_out, c_out, taps, stride, taps // 2,
        x.stride(0), x.stride(1), grad.stride(0), grad.stride(1),
        COPIES=c_out // x.shape[2], BT=32, BC=channels,
    )  # fmt: skip
    return out


@depthwise_weight_grad.register_fake
def _(x, grad, taps, stride):  # type: ignore[no-untyped-def]
    parts = _parts(grad.shape[0] * grad.shape[1], 64, 128)[1]
    return grad.new_empty(parts, grad.shape[2] * (taps + 1))


@torch.library.custom_op("avsep::blur_taps", mutates_args=())
def blur_taps(k: Tensor, radius: int, slope: bool) -> Tensor:
    """The taps (1, C, 2 radius + 1) of `blur.taps`; with their derivatives by k, (2, C, ...)."""
    out = k.new_empty(1 + slope, len(k), 2 * radius + 1)
    _kernels(k).blur_taps[(len(k),)](
        k, out[0], out[-1], len(k), radius, FREQUENCIES, SLOPE=slope, BR=power(radius + 1), BG=64
    )
    return out


@blur_taps.register_fake
def _(k, radius, slope):  # type: ignore[no-untyped-def]
    return k.new_empty(1 + slope, len(k), 2 * radius + 1)


@torch.library.custom_op("avsep::moments", mutates_args=())
def moments(x: Tensor) -> Tensor:
    """Means and squared deviations of chunks of each item, (B, P, 2)."""
    size = x[0].numel()
    chunk, parts = _parts(size, BLOCK)
    out = x.new_empty(len(x), parts, 2)
    _kernels(x).moments[(parts, len(x))](x, out, size, chunk, parts, BLOCK=BLOCK)
    return out


@moments.register_fake
def _(x):  # type: ignore[no-untyped-def]
    return x.new_empty(len(x), _parts(x.shape[1] * x.shape[2], BLOCK)[1], 2)


@torch.library.custom_op("avsep::normalise", mutates_args=())
def normalise(
    x: Tensor, parts: Tensor, weight: Tensor, bias: Tensor, eps: float, slope: Tensor | None,
    gelu: bool, scale: Tensor | None, residual: Tensor | None,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """The normed x, and mean and inverse deviation of each item (B, 2), from `moments`.

    Followed by GELU, or PReLU with a slope; then scaled and added to a residual, if there is one.
    """
    size, channels = x[0].numel(), x.shape[-1]
    chunk, count = _parts(size, BLOCK)
    y, stats = torch.empty_like(x), x.new_empty(len(x), 2)
    _kernels(x, parts, weight, bias, slope, scale, residual).normalise[(-(-size // BLOCK), len(x))](
        x, parts, weight, bias, weight if slope is None else slope,
        weight if scale is None else scale, x if residual is None else residual, y, stats,
        size, channels, chunk, count, eps,
        ACT=1 if gelu else 2 if slope is not None else 0, ADD=residual is not None,
        BP=power(count), BLOCK=BLOCK,
    )  # fmt: skip
    return y, stats


@normalise.register_fake
def _(x, parts, weight, bias, eps, slope, gelu, scale, residual):  # type: ignore[no-untyped-def]
    return torch.empty_like(x), x.new_empty(len(x), 2)


@torch.library.custom_op("avsep::normalise_sums", mutates_args=())
def normalise_sums(x: Tensor, grad: Tensor, stats: Tensor) -> Tensor:
    """Part sums (B, P, 2, C) of grad * normed x and of grad."""
    batch, length, channels = x.shape
    chunk, count = _parts(length, 64, 128)
    out = x.new_empty(batch, count, 2, channels)
    _kernels(x, grad, stats).normalise_sums[(count, batch)](
        x, grad, stats, out, length, channels, chunk, count, BT=16, BC=power(channels)
    )
    return out


@normalise_sums.register_fake
def _(x, grad, stats):  # type: ignore[no-untyped-def]
    return x.new_empty(len(x), _parts(x.shape[1], 64, 128)[1], 2, x.shape[2])


@torch.library.custom_op("avsep::normalise_grad", mutates_args=())
def normalise_grad(x: Tensor, grad: Tensor, stats: Tensor, sums: Tensor, weight: Tensor) -> Tensor:
    """The gradient of x, from the sums (B, 2, C) over time."""
    size, channels = x[0].numel(), x.shape[-1]
    out = torch.empty_like(x)
    _kernels(x, grad, stats, sums, weight).normalise_grad[(-(-size // BLOCK), len(x))](
        x, grad, stats, sums, weight, out, size, channels, BC=power(channels), BLOCK=BLOCK
    )
    return out


@normalise_grad.register_fake
def _(x, grad, stats, sums, weight):  # type: ignore[no-untyped-def]
    return torch.empty_like(x)


@torch.library.custom_op("avsep::norm_gate", mutates_args=())
def norm_gate(x: Tensor, gates: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    """Layer norm of x (B, T, C) over channels, times SiLU of the gates (B, T, C), a slice."""
    rows, channels = x[..., 0].numel(), x.shape[-1]
    y, block = torch.empty_like(x), 8
    _kernels(x, gates, weight, bias).norm_gate[(-(-rows // block),)](
        x, gates, weight, bias, y, rows, channels, gates.stride(1), eps,
        BR=block, BC=power(channels),
    )  # fmt: skip
    return y


@norm_gate.register_fake
def _(x, gates, weight, bias, eps):  # type: ignore[no-untyped-def]
    return torch.empty_like(x)


@torch.library.custom_op("avsep::norm_gate_grad", mutates_args=("gate_grad",))
def norm_gate_grad(
    x: Tensor, gates: Tensor, weight: Tensor, bias: Tensor, grad: Tensor, gate_grad: Tensor,
    eps: float,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """The gradient of x, and part sums (P, 2 C) of those of weight and bias.

    That of the gates is written to `gate_grad`, laid out like the gates.
    """
    rows, channels = x[..., 0].numel(), x.shape[-1]
    chunk, count = _parts(rows, 32)
    of_x, parts = torch.empty_like(x), x.new_empty(count, 2 * channels)
    _kernels(x, gates, weight, bias, grad, gate_grad).norm_gate_grad[(count,)](
        x, gates, weight, bias, grad, of_x, gate_grad, parts, rows, chunk, channels,
        gates.stride(1), eps, BR=8, BC=power(channels),
    )  # fmt: skip
    return of_x, parts


@norm_gate_grad.register_fake
def _(x, gates, weight, bias, grad, gate_grad, eps):  # type: ignore[no-untyped-def]
    count = _parts(x.shape[0] * x.shape[1], 32)[1]
    return torch.empty_like(x), x.new_empty(count, 2 * x.shape[-1])


@torch.library.custom_op("avsep::attention", mutates_args=())
def attention(
    query: Tensor, key: Tensor, value: Tensor, positions: Tensor | None, heads: int
) -> Tensor:
    """Attention of (B, T, C) sequences with `heads` heads side by side in the channels."""
    batch, length, channels = query.shape
    y, size, block = torch.empty_like(query), channels // heads, 32
    _kernels(query, key, value, positions).attention[(-(-length // block), heads, batch)](
        query, key, value, query if positions is None else positions, y, length, channels, size,
        size**-0.5, POSITIONS=positions is not None, BM=block, BN=32, BD=max(16, power(size)),
    )  # fmt: skip
    return y


@attention.register_fake
def _(query, key, value, positions, heads):  # type: ignore[no-untyped-def]
    return torch.empty_like(query)


@torch.library.custom_op("avsep::blur_k_grad", mutates_args=())
def blur_k_grad(x: Tensor, grad: Tensor, by_k: Tensor) -> Tensor:
    """Part sums (B P, C) of the gradient of k; x (B, T, C) may be a slice, by_k is (C, K)."""
    batch, length, channels = grad.shape
    chunk, count = _parts(length, 64, 64)
    out, block = grad.new_empty(batch * count, channels), min(power(channels), 128)
    _kernels(x, grad, by_k).blur_k_grad[(count, batch, -(-channels // block))](
        x, grad, by_k, out, length, channels, by_k.shape[1], by_k.shape[1] // 2, chunk, count,
        x.stride(0), x.stride(1), BT=16, BC=block,
    )  # fmt: skip
    return out


@blur_k_grad.register_fake
def _(x, grad, by_k):  # type: ignore[no-untyped-def]
    return grad.new_empty(grad.shape[0] * _parts(grad.shape[1], 64, 64)[1], grad.shape[2])
