"""Batch norm with what lies around it, on (R, C) rows, channels last; see `ops`.

Around it: the bias of the convolution before, a residual, and a leaky ReLU, whose slope is 0 for a
ReLU and 1 for none.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from avsep.models.gpu.ops import BLOCK, _parts, check_inputs, power


def _kernels(*inputs: Tensor | None) -> Any:
    check_inputs(*inputs)
    from avsep.models.gpu import channel_kernels

    return channel_kernels


def _tile(channels: int) -> tuple[int, int]:
    """Rows and channels of a tile of 4,096 values or fewer."""
    width = min(power(channels), 32)
    return 2048 // width, width


def _shares(rows: int, smallest: int) -> tuple[int, int, int, int]:
    """Rows per part sum and number of them; rows per program of the pass after it, and programs."""
    chunk, count = _parts(rows, smallest, 128)
    return chunk, count, *_parts(rows, smallest, 1024)


@torch.library.custom_op("avsep::norm_act", mutates_args=())
def norm_act_by(
    x: Tensor, conv_bias: Tensor | None, mean: Tensor, variance: Tensor, weight: Tensor,
    bias: Tensor, residual: Tensor | None, eps: float, slope: float,
) -> Tensor:  # fmt: skip
    """The contiguous rows x (R, C) normed by given statistics."""
    size, y = x.numel(), torch.empty_like(x)
    _kernels(x, conv_bias, mean, variance, weight, bias, residual).norm_act[(-(-size // BLOCK),)](
        x, mean if conv_bias is None else conv_bias, mean, variance, weight, bias,
        x if residual is None else residual, y, size, x.shape[1], eps, slope,
        SHIFT=conv_bias is not None, ADD=residual is not None, BLOCK=BLOCK,
    )  # fmt: skip
    return y


@norm_act_by.register_fake
def _(x, conv_bias, mean, variance, weight, bias, residual, eps, slope):  # type: ignore[no-untyped-def]
    return torch.empty_like(x)


@torch.library.custom_op("avsep::channel_moments", mutates_args=())
def channel_moments(x: Tensor) -> Tensor:
    """Means and squared deviations of parts of the contiguous rows x (R, C), (P, 2, C)."""
    rows, channels = x.shape
    block, width = _tile(channels)
    chunk, count, _, _ = _shares(rows, block)
    out = x.new_empty(count, 2, channels)
    _kernels(x).channel_moments[(count, -(-channels // width))](
        x, out, rows, chunk, channels, BR=block, BC=width
    )
    return out


@channel_moments.register_fake
def _(x):  # type: ignore[no-untyped-def]
    return x.new_empty(_shares(x.shape[0], _tile(x.shape[1])[0])[1], 2, x.shape[1])


@torch.library.custom_op(
    "avsep::batch_norm_act", mutates_args=("running_mean", "running_var", "tracked")
)
def batch_norm_act(
    x: Tensor, parts: Tensor, conv_bias: Tensor | None, weight: Tensor, bias: Tensor,
    residual: Tensor | None, running_mean: Tensor, running_var: Tensor, tracked: Tensor,
    eps: float, momentum: float, slope: float,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """The normed rows, and mean and inverse deviation (2, C), from `channel_moments`."""
    rows, channels = x.shape
    block, width = _tile(channels)
    chunk, count, share, programs = _shares(rows, block)
    y, stats = torch.empty_like(x), x.new_empty(2, channels)
    launch = _kernels(
        x, parts, conv_bias, weight, bias, residual, running_mean, running_var
    ).batch_norm_act
    launch[(programs, -(-channels // width))](
        x, parts, weight if conv_bias is None else conv_bias, weight, bias,
        x if residual is None else residual, running_mean, running_var, tracked, y, stats, rows,
        chunk, count, share, channels, eps, momentum, slope, SHIFT=conv_bias is not None,
        ADD=residual is not None, BP=power(count), BR=block, BC=width,
    )  # fmt: skip
    return y, stats


@batch_norm_act.register_fake
def _(x, *others):  # type: ignore[no-untyped-def]
    return torch.empty_like(x), x.new_empty(2, x.shape[1])


@torch.library.custom_op("avsep::batch_norm_sums", mutates_args=())
def batch_norm_sums(
    grad: Tensor, x: Tensor, y: Tensor | None, stats: Tensor, weight: Tensor, bias: Tensor,
    slope: float,
) -> Tensor:  # fmt: skip
    """Part sums (P, 2, C) for `batch_norm_grad`; y only where a residual was added."""
    rows, channels = x.shape
    block, width = _tile(channels)
    chunk, count, _, _ = _shares(rows, block)
    out = x.new_empty(count, 2, channels)
    launch = _kernels(grad, x, y, stats, weight, bias).batch_norm_sums
    launch[(count, -(-channels // width))](
        grad, x, x if y is None else y, stats, weight, bias, out, rows, chunk, channels, slope,
        ADDED=y is not None, BR=block, BC=width,
    )  # fmt: skip
    return out


@batch_norm_sums.register_fake
def _(grad, x, y, stats, weight, bias, slope):  # type: ignore[no-untyped-def]
    return x.new_empty(_shares(x.shape[0], _tile(x.shape[1])[0])[1], 2, x.shape[1])


@torch.library.custom_op("avsep::batch_norm_grad", mutates_args=())
def batch_norm_grad(
    grad: Tensor, x: Tensor, y: Tensor | None, stats: Tensor, weight: Tensor, bias: Tensor,
    parts: Tensor, slope: float,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """The gradients of x, of the residual, and of weight, bias and the convolution's bias."""
    rows, channels = x.shape
    block, width = _tile(channels)
    _, count, share, programs = _shares(rows, block)
    of_x, params = torch.empty_like(x), x.new_empty(3, channels)
    of_residual = x.new_empty(0) if y is None else torch.empty_like(x)
    launch = _kernels(grad, x, y, stats, weight, bias, parts).batch_norm_grad
    launch[(programs, -(-channels // width))](
        grad, x, x if y is None else y, stats, weight, bias, parts, of_x, of_residual, params,
        rows, count, share, channels, slope, ADDED=y is not None, BP=power(count), BR=block,
        BC=width,
    )  # fmt: skip
    return of_x, of_residual, params


@batch_norm_grad.register_fake
def _(grad, x, y, stats, weight, bias, parts, slope):  # type: ignore[no-untyped-def]
    of_residual = x.new_empty(0) if y is None else torch.empty_like(x)
    return torch.empty_like(x), of_residual, x.new_empty(3, x.shape[1])


class _BatchNormAct(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, conv_bias: Tensor | None, weight: Tensor, bias: Tensor,
        residual: Tensor | None, running_mean: Tensor, running_var: Tensor, tracked: Tensor,
        eps: float, momentum: float, slope: float,
    ) -> Tensor:  # fmt: skip
        y, stats = batch_norm_act(
            x, channel_moments(x), conv_bias, weight, bias, residual, running_mean, running_var,
            tracked, eps, momentum, slope,
        )  # fmt: skip
        ctx.save_for_backward(x, stats, weight, bias, *([] if residual is None else [y]))
        ctx.settings = (slope, conv_bias is not None)
        return y

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, stats, weight, bias, *added = ctx.saved_tensors
        slope, shifted = ctx.settings
        y = added[0] if added else None
        grad = grad.contiguous()
        parts = batch_norm_sums(grad, x, y, stats, weight, bias, slope)
        of_x, of_residual, params = batch_norm_grad(grad, x, y, stats, weight, bias, parts, slope)
        return (
            of_x, params[2] if shifted else None, params[0], params[1],
            of_residual if added else None, None, None, None, None, None, None,
        )  # fmt: skip


def norm_act(
    norm: nn.modules.batchnorm._BatchNorm,
    x: Tensor,
    *,
    slope: float,
    conv_bias: Tensor | None = None,
    residual: Tensor | None = None,
) -> Tensor:
    """act(norm(x + conv_bias) + residual) of contiguous rows (R, C).

    In training the statistics are those of this process alone; outside it, there are no gradients.
    """
    assert norm.running_mean is not None
    assert norm.running_var is not None
    if not norm.training:
        return norm_act_by(
            x, conv_bias, norm.running_mean, norm.running_var, norm.weight, norm.bias, residual,
            norm.eps, slope,
        )  # fmt: skip
    assert norm.num_batches_tracked is not None
    return _BatchNormAct.apply(
        x, conv_bias, norm.weight, norm.bias, residual, norm.running_mean, norm.running_var,
        norm.num_batches_tracked, norm.eps, norm.momentum, slope,
    )  # fmt: skip
