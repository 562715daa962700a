"""Layers on sequences of feature vectors: (B, T, C) float tensors of batch, time and channels.

Channels come last everywhere in the separator. Linear maps and layer norms then read memory in
order, and depthwise convolutions, run as 2-D convolutions of channels-last pictures one pixel high,
are 10 to 20 times faster on the CPU than on (B, C, T).
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from avsep.models.cpu import for_any_length, worthwhile
from avsep.models.dolphin.tiles import by_tiles
from avsep.models.full_precision import autocast_dtype
from avsep.models.gpu import layers
from avsep.models.gpu import ops as gpu
from avsep.training.batch_norm import BatchNorm1d

SUMMED = 1 << 15  # squares per sum

# The CPU library has fast code for the weight gradient of filters with this many taps only.
_FAST_TAPS = 3


class DepthwiseConv(nn.Module):
    """One filter per channel over time, with zero padding and a bias.

    Args:
        channels: channels of input and output.
        kernel: taps of each filter; odd.
        stride: 1 keeps the length; 2 halves it, rounded up.
    """

    def __init__(self, channels: int, kernel: int, *, stride: int = 1) -> None:
        super().__init__()
        self.weight, self.bias = initial_parameters(
            nn.Conv1d(channels, channels, kernel, groups=channels)
        )
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, C) to (B, ceil(T / stride), C)."""
        return depthwise(x, self.weight, self.bias, self.stride)


def initial_parameters(conv: nn.Module) -> tuple[nn.Parameter, nn.Parameter]:
    """Weight and bias of a new library convolution, for layers that compute it another way."""
    weight, bias = conv.weight, conv.bias
    assert isinstance(weight, nn.Parameter)
    assert isinstance(bias, nn.Parameter)
    return weight, bias


def depthwise(x: Tensor, weight: Tensor, bias: Tensor | None, stride: int = 1) -> Tensor:
    """Filter each channel over time. x (B, T, C), weight (C, 1, K), bias (C,) or None."""
    if (dtype := autocast_dtype(x)) is not None:
        x, weight = x.to(dtype), weight.to(dtype)
        bias = None if bias is None else bias.to(dtype)
    if gpu.usable(x):
        return layers.depthwise(x, weight, bias, stride=stride)
    if not x.is_cpu:
        y = F.conv1d(
            x.transpose(1, 2), weight, bias, stride, weight.shape[-1] // 2, groups=x.shape[-1]
        )
        return y.transpose(1, 2)
    needs_grad = torch.is_grad_enabled() and (x.requires_grad or weight.requires_grad)
    if needs_grad and stride == 1 and weight.shape[-1] > _FAST_TAPS:
        return _Depthwise.apply(x, weight, bias)
    return correlate(x, weight, bias, stride=stride, padding=weight.shape[-1] // 2)


def correlate(
    x: Tensor, weight: Tensor, bias: Tensor | None, *, stride: int = 1, padding: int = 0
) -> Tensor:
    """Correlate each channel with its filter, as a channels-last picture one pixel high.

    x (B, T, C), weight (C, 1, K). The library's weight gradient of this form is slow on the CPU.
    """
    y = F.conv2d(
        _picture(x),
        weight.unsqueeze(2),
        bias,
        stride=(1, stride),
        padding=(0, padding),
        groups=x.shape[-1],
    )
    return y.squeeze(2).transpose(1, 2)


def _picture(x: Tensor) -> Tensor:
    """(B, T, C) viewed as (B, C, 1, T), with strides that the library treats as channels-last."""
    return x.transpose(1, 2).unsqueeze(2)


class _Depthwise(torch.autograd.Function):
    """The same convolution with a weight gradient that is fast on the CPU.

    The library's weight gradient of long channels-last filters takes up to 200 times as long as the
    forward pass. Here it is assembled from gradients of three taps each.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        return correlate(x, weight, bias, padding=weight.shape[-1] // 2)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        grad = grad.contiguous()
        of_x = of_weight = of_bias = None
        if ctx.needs_input_grad[0]:
            of_x = correlate(grad, weight.flip(-1), None, padding=weight.shape[-1] // 2)
        if ctx.needs_input_grad[1]:
            of_weight = weight_gradient(x, grad, weight.shape[-1]).unsqueeze(1).to(weight.dtype)
        if ctx.needs_input_grad[2]:
            of_bias = grad.new_ones(grad.shape[:2].numel()) @ grad.flatten(0, 1)
        return of_x, of_weight, of_bias


def weight_gradient(x: Tensor, grad: Tensor, kernel: int) -> Tensor:
    """Correlate input and output gradient, both (B, T, C), over `kernel` lags to (C, kernel)."""
    half = kernel // 2
    lags = -(-kernel // _FAST_TAPS) * _FAST_TAPS
    # All items in one row with zeros between them, so that a shift in time is a plain slice.
    after = half + lags - kernel
    row = F.pad(x, (0, 0, half, after)).flatten(0, 1)[None]
    of_row = F.pad(grad, (0, 0, 0, half + after)).flatten(0, 1)[None]
    length = row.shape[1] - lags + 1
    of_row = _picture(of_row[:, :length])
    taps = [
        torch.ops.aten.convolution_backward(
            of_row,
            _picture(row[:, lag : lag + length + _FAST_TAPS - 1]),
            row.new_empty(x.shape[2], 1, 1, _FAST_TAPS),
            bias_sizes=None,
            stride=(1, 1),
            padding=(0, 0),
            dilation=(1, 1),
            transposed=False,
            output_padding=(0, 0),
            groups=x.shape[2],
            output_mask=(False, True, False),
        )[1]
        for lag in range(0, lags, _FAST_TAPS)
    ]
    return torch.cat(taps, dim=-1)[:, 0, 0, :kernel]


class GlobalNorm(nn.Module):
    """Norm over channels and time together (a group norm with one group), with a gain per channel.

    Computed in float32 even under autocast, because it sums over up to a million values.
    """

    def __init__(self, channels: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, C) to the same shape."""
        x = x.float()
        if gpu.usable(x):
            return layers.global_norm(x, self.weight, self.bias, self.eps)
        if worthwhile(x):
            gain, shift = self.affine(x)
            return torch.addcmul(shift, x, gain)
        if torch.jit.is_tracing():  # ONNX has no layer norm of rows of any length
            y = x - _mean(x)
            y = y * torch.rsqrt(_mean(y.square()) + self.eps)
        elif not x.is_cpu:  # a layer norm of few, long rows leaves a GPU idle
            variance, mean = torch.var_mean(x, dim=(1, 2), correction=0, keepdim=True)
            y = (x - mean) * torch.rsqrt(variance + self.eps)
        else:
            flat = x.flatten(1)
            y = F.layer_norm(flat, flat.shape[1:], eps=self.eps).view_as(x)
        return torch.addcmul(self.bias, y, self.weight)

    def affine(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Gain and shift (B, 1, C) that the norm comes to for (B, T, C), on a CPU."""
        flat = x.flatten(1)
        mean = flat.mean(1)
        # Short stretches: a float32 sum of millions of squares would lose digits.
        parts = [torch.stack([p.dot(p) for p in item.split(SUMMED)]) for item in flat]
        square = torch.stack([part.sum() for part in parts]) / flat.shape[1]
        variance = square - mean.square()
        if bool((mean.square() > 16 * variance).any()):  # the difference would have lost digits
            variance = (flat - mean[:, None]).square().mean(1)
        gain = torch.rsqrt(variance + self.eps)[:, None, None] * self.weight
        return gain, torch.addcmul(self.bias, gain, mean[:, None, None], value=-1)


def _mean(x: Tensor) -> Tensor:
    """The mean of each item (B, T, C), as (B, 1, 1), for ONNX.

    In two steps: ONNX Runtime adds one number after the other, and a float32 sum of millions of
    them would lose digits.
    """
    return x.mean(2, keepdim=True).mean(1, keepdim=True)


def norm_gelu(x: Tensor, norm: GlobalNorm) -> Tensor:
    """GELU of the normed sequence, in one pass where no gradients are computed."""
    if gpu.usable(x) and not torch.is_grad_enabled():
        return layers.global_norm_then(x, norm.weight, norm.bias, norm.eps, gelu=True)
    if worthwhile(x):
        gain, shift = norm.affine(x)
        return by_tiles(lambda part, g, s: F.gelu(torch.addcmul(s, part, g)), 0, x, gain, shift)
    return F.gelu(norm(x))


def norm_prelu(x: Tensor, norm: GlobalNorm, act: nn.PReLU) -> Tensor:
    """PReLU of the normed sequence, in one pass where no gradients are computed."""
    if gpu.usable(x) and not torch.is_grad_enabled():
        return layers.global_norm_then(x, norm.weight, norm.bias, norm.eps, slope=act.weight)
    if worthwhile(x):
        gain, shift = norm.affine(x)
        return by_tiles(lambda part, g, s: act(torch.addcmul(s, part, g)), 0, x, gain, shift)
    return act(norm(x))


def add_scaled(x: Tensor, y: Tensor, scale: Tensor) -> Tensor:
    """x + scale y, of the type of x: (B, T, C) sequences and a gain per channel."""
    y = y.to(x.dtype)
    if torch.is_grad_enabled() and not torch.compiler.is_compiling():
        return _AddScaled.apply(x, y, scale)
    return torch.addcmul(x, y, scale)


class _AddScaled(torch.autograd.Function):
    """With a backward pass of three operations; that of the library's `addcmul` takes five."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, y: Tensor, scale: Tensor) -> Tensor:
        ctx.save_for_backward(y, scale)
        return torch.addcmul(x, y, scale)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        y, scale = ctx.saved_tensors
        of_scale = (grad * y).sum((0, 1)) if ctx.needs_input_grad[2] else None
        return grad, grad * scale, of_scale


class TimeBatchNorm(BatchNorm1d):
    """Batch norm of (B, T, C) sequences."""

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        return super().forward(x.transpose(1, 2)).transpose(1, 2)


def resize_nearest(x: Tensor, length: int) -> Tensor:
    """Resize (B, T, C) to (B, length, C): output i takes frame floor(i T / length)."""
    old = x.shape[1]
    if for_any_length() or length % old:
        index = torch.arange(length, device=x.device) * old // length
        return x.index_select(1, index)
    return x.repeat_interleave(length // old, dim=1) if length != old else x


def pool(x: Tensor, length: int) -> Tensor:
    """Average (B, T, C) to (B, n, C) over windows floor(i T / n) to ceil((i + 1) T / n)."""
    if for_any_length():  # the library's layer would be compiled for one length only
        return _averages(x.shape[1], length, x) @ x
    return F.adaptive_avg_pool1d(x.transpose(1, 2), length).transpose(1, 2)


def pool_evenly(x: Tensor, length: int) -> Tensor:
    """Like `pool`, where one of T and `length` is a multiple of the other."""
    old = x.shape[1]
    if old == length:
        return x
    if old < length:
        return resize_nearest(x, length)
    return x.unflatten(1, (length, old // length)).mean(2)


def _averages(old: int, length: int, like: Tensor) -> Tensor:
    """The matrix (length, old) that averages over the windows of `pool`."""
    first = torch.arange(length, device=like.device)[:, None] * old
    frame = torch.arange(old, device=like.device) * length
    # Window i holds the frames j with i T / n < j + 1 and j < (i + 1) T / n.
    inside = (frame + length > first) & (frame < first + old)
    weight = inside.to(like.dtype)
    return weight / weight.sum(1, keepdim=True)
