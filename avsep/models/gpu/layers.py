"""Differentiable layers out of the operations in `ops`, for float32 (B, T, C) sequences."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from avsep.models.gpu import block_ops, ops


def depthwise(
    x: Tensor, weight: Tensor, bias: Tensor | None, *, stride: int = 1, gelu: bool = False
) -> Tensor:
    """See `sequence.depthwise`; `gelu` only where no gradient is wanted."""
    if torch.is_grad_enabled():
        y = _Depthwise.apply(x.contiguous(), weight, bias, stride)
        return torch.nn.functional.gelu(y) if gelu else y
    return _depthwise(x.contiguous(), weight, bias, stride=stride, gelu=gelu)


def _depthwise(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    *,
    stride: int = 1,
    mirror: bool = False,
    gelu: bool = False,
    out: Tensor | None = None,
) -> Tensor:
    weight = weight.flatten(1)
    if out is None:
        out = x.new_empty(len(x), -(-x.shape[1] // stride), len(weight))
    ops.depthwise_into(x, weight, bias, out, stride, mirror, gelu)
    return out


def _parameter_grads(x: Tensor, grad: Tensor, weight: Tensor, stride: int) -> tuple[Tensor, Tensor]:
    taps = weight.shape[-1]
    sums = ops.depthwise_weight_grad(x, grad, taps, stride).sum(0)
    of_weight, of_bias = sums.split([len(weight) * taps, len(weight)])
    return of_weight.view_as(weight), of_bias


class _Depthwise(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, stride: int) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.stride = stride
        return _depthwise(x, weight, bias, stride=stride)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        grad = grad.contiguous()
        of_x = of_weight = of_bias = None
        if ctx.needs_input_grad[0]:
            of_x = ops.depthwise_input_grad(
                grad, weight.flatten(1), x.shape[1], ctx.stride, x.shape[2]
            )
        if any(ctx.needs_input_grad[1:3]):
            of_weight, of_bias = _parameter_grads(x, grad, weight, ctx.stride)
        return of_x, of_weight, of_bias if ctx.needs_input_grad[2] else None, None


def global_norm(x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    """See `sequence.GlobalNorm`."""
    return _GlobalNorm.apply(x.contiguous(), weight, bias, eps)


def global_norm_then(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    eps: float,
    *,
    gelu: bool = False,
    slope: Tensor | None = None,
    scale: Tensor | None = None,
    residual: Tensor | None = None,
) -> Tensor:
    """The norm and what follows it in one float32 pass, without gradients; see `ops.normalise`."""
    x = x.float().contiguous()
    residual = None if residual is None else residual.float().contiguous()
    parts = ops.moments(x)
    return ops.normalise(x, parts, weight, bias, eps, slope, gelu, scale, residual)[0]


class _GlobalNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
        y, stats = ops.normalise(x, ops.moments(x), weight, bias, eps, None, False, None, None)
        ctx.save_for_backward(x, weight, stats)
        return y

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, stats = ctx.saved_tensors
        grad = grad.contiguous()
        sums = ops.normalise_sums(x, grad, stats).sum(1)
        of_x = ops.normalise_grad(x, grad, stats, sums, weight)
        of_weight, of_bias = sums.sum(0).unbind()
        return of_x, of_weight, of_bias, None


def heat(x: Tensor, weights: tuple[Tensor, ...], eps: float, taps: Tensor) -> Tensor:
    """The whole heat layer with a filter, whose radius is that of `taps`.

    Args:
        x: (B, T, C), of any length.
        weights: of `HeatDiffusion`: enter (weight, bias), split, norm, leave, and k.
        eps: of the layer norm.
        taps: (1, C, 2 radius + 1), or (2, ...) with their derivatives, from `ops.blur_taps`.
    """
    return _Heat.apply(x.contiguous(), taps, eps, *weights)


class _Heat(torch.autograd.Function):
    """Forward in five kernels. Kept for the backward pass: what the filters have as input."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, taps: Tensor, eps: float, *weights: Tensor) -> Tensor:
        enter_w, enter_b, split_w, split_b, norm_w, norm_b, leave_w, leave_b, _ = weights
        channels = x.shape[2]
        entered = _depthwise(x, enter_w, enter_b)
        split = _depthwise(entered, split_w, split_b)
        blurred = _depthwise(split[..., :channels], taps[0], None, mirror=True)
        gated = ops.norm_gate(blurred, split[..., channels:], norm_w, norm_b, eps)
        ctx.save_for_backward(x, taps, entered, split, blurred, gated, *weights)
        ctx.eps = eps
        return _depthwise(gated, leave_w, leave_b)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, taps, entered, split, blurred, gated, *weights = ctx.saved_tensors
        enter_w, _, split_w, _, norm_w, norm_b, leave_w, _, _ = weights
        grad, length, channels = grad.contiguous(), x.shape[1], x.shape[2]
        leave = _parameter_grads(gated, grad, leave_w, 1)
        grad = ops.depthwise_input_grad(grad, leave_w.flatten(1), length, 1, channels)
        of_split = torch.empty_like(split)
        grad, sums = ops.norm_gate_grad(
            blurred, split[..., channels:], norm_w, norm_b, grad, of_split[..., channels:], ctx.eps
        )
        norm = sums.sum(0).split(channels)
        # With mirrored ends the blur and its derivative by k are symmetric operators.
        _depthwise(grad, taps[0], None, mirror=True, out=of_split[..., :channels])
        of_k = ops.blur_k_grad(split[..., :channels], grad, taps[1]).sum(0)
        split_grads = _parameter_grads(entered, of_split, split_w, 1)
        grad = ops.depthwise_input_grad(of_split, split_w.flatten(1), length, 1, channels)
        enter = _parameter_grads(x, grad, enter_w, 1)
        of_x = ops.depthwise_input_grad(grad, enter_w.flatten(1), length, 1, channels)
        return of_x, None, None, *enter, *split_grads, *norm, *leave, of_k


def position_bias(query: Tensor, positions: Tensor) -> Tensor:
    """Scores of positions (B, H, T, T), scaled by d^-0.5; query (B, H, T, d) is not yet scaled."""
    return _PositionBias.apply(query, positions)


class _PositionBias(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, query: Tensor, positions: Tensor) -> Tensor:
        ctx.save_for_backward(query, positions)
        return block_ops.position_bias(query, positions)[..., : query.shape[2]]

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
        query, positions = ctx.saved_tensors
        grad = grad.contiguous()
        of_query = block_ops.position_bias_query_grad(grad, positions)
        return of_query, block_ops.position_bias_table_grad(query, grad).sum(0)


def gate_add(x: Tensor, gate: Tensor, branch: Tensor) -> Tensor:
    """x + sigmoid(gate) * branch, see `block_ops.gate_add`."""
    return _GateAdd.apply(x.contiguous(), gate.contiguous(), branch.contiguous())


class _GateAdd(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, gate: Tensor, branch: Tensor) -> Tensor:
        ctx.save_for_backward(gate, branch)
        return block_ops.gate_add(x, gate, branch)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        gate, branch = ctx.saved_tensors
        grad = grad.contiguous()
        return grad, *block_ops.gate_add_grad(gate, branch, grad)
