"""A stack of post-norm attention layers on a GPU, with its own backward pass; float32.

A layer is eight launches forward and eight backward. The gradients of all layers' weights are
computed together at the end: one batched product for each kind of matrix.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from avsep.models.gpu import row_ops

PER_LAYER = 12  # weights and biases: qkv, out, first norm, expand, contract, second norm
# Up to so many rows, a launch less is worth more than the library's faster product.
FEW_ROWS = 2048


def attention_stack(
    x: Tensor, weights: Sequence[Tensor], heads: int, eps: float, dropout: float
) -> Tensor:
    """The layers of a `transformer.Stack` and its final norm.

    Args:
        x: (B, L, C).
        weights: `PER_LAYER` of each layer, then weight and bias of the final norm.
        heads: number of attention heads.
        eps: of all norms.
        dropout: probability; 0 outside training.
    """
    x = x.contiguous()
    if torch.is_grad_enabled():
        seed = torch.randint(2**31, (), device=x.device) if dropout > 0 else None
        return _Stack.apply(x, seed, heads, eps, dropout, *weights)
    return _without_gradients(x, weights, heads, eps)


def linear_act(x: Tensor, weight: Tensor, bias: Tensor, slope: float | None = None) -> Tensor:
    """GELU (without a slope) or leaky ReLU of a linear map, without gradients."""
    if x.numel() // x.shape[-1] <= FEW_ROWS:
        return row_ops.linear_act(x.contiguous(), weight, bias, slope)
    y = F.linear(x, weight, bias)
    return F.gelu(y) if slope is None else F.leaky_relu(y, slope, inplace=True)


def _layers(weights: Sequence[Tensor]) -> list[Sequence[Tensor]]:
    return [weights[i : i + PER_LAYER] for i in range(0, len(weights) - 2, PER_LAYER)]


def _without_gradients(x: Tensor, weights: Sequence[Tensor], heads: int, eps: float) -> Tensor:
    shape, rows = x.shape, x.flatten(0, 1)
    layers = _layers(weights)
    for i, layer in enumerate(layers):
        qkv_w, qkv_b, out_w, out_b, n1_w, n1_b, up_w, up_b, down_w, down_b, n2_w, n2_b = layer
        qkv = F.linear(rows, qkv_w, qkv_b)
        attended = attend(qkv.view(*shape[:2], 3, heads, -1), 0.0, keep=False)[0]
        branch = F.linear(attended.view_as(rows), out_w, out_b)
        mid = torch.empty_like(rows)
        row_ops.add_norm(rows, branch, n1_w, n1_b, None, None, None, mid, eps, None, 0, 0.0)
        branch = F.linear(linear_act(mid, up_w, up_b), down_w, down_b)
        last = weights[-2:] if i == len(layers) - 1 else (None, None)
        rows = torch.empty_like(mid)
        row_ops.add_norm(mid, branch, n2_w, n2_b, *last, None, rows, eps, None, 0, 0.0)
    return rows.view(shape)


def attend(qkv: Tensor, dropout: float, *, keep: bool) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """PyTorch's memory-efficient attention: (B, L, 3, H, d) to (B, L, H, d), and what it keeps."""
    query, key, value = qkv.unbind(2)
    return torch.ops.aten._efficient_attention_forward(
        query, key, value, None, None, None, None, None, dropout, 0, keep
    )[:4]


def attend_grad(
    grad: Tensor, qkv: Tensor, kept: tuple[Tensor, Tensor, Tensor, Tensor], dropout: float
) -> Tensor:
    """The gradient of qkv in `attend`, (B L, 3 C)."""
    query, key, value = qkv.unbind(2)
    attended, logsumexp, seed, offset = kept
    length = qkv.shape[1]
    grads = torch.ops.aten._efficient_attention_backward(
        grad, query, key, value, None, attended, None, None, length, length, logsumexp, dropout,
        seed, offset, 0, False, shared_storage_dqdkdv=True,
    )[:3]  # fmt: skip
    size = query.shape[2] * query.shape[3]
    if grads[0].stride(1) == 3 * size and grads[2].storage_offset() == 2 * size:
        # The three lie side by side, as in qkv.
        return grads[0].as_strided((len(qkv) * length, 3 * size), (3 * size, 1), 0)
    return torch.stack(grads, 2).view(-1, 3 * size)


class _Stack(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, seed: Tensor | None, heads: int, eps: float, p: float, *weights: Tensor
    ) -> Tensor:
        (batch, length, channels), layers = x.shape, _layers(weights)
        count, rows, hidden = len(layers), batch * length, len(weights[6])
        # What the products of the weights' gradients read lies together, layer by layer.
        entered, mids, sums1, sums2 = (x.new_empty(count, rows, channels) for _ in range(4))
        acted = x.new_empty(count, rows, hidden)
        last, y = x.new_empty(rows, channels), torch.empty_like(x)
        entered[0].copy_(x.view(rows, channels))
        kept: list[Tensor] = []
        for i, layer in enumerate(layers):
            qkv_w, qkv_b, out_w, out_b, n1_w, n1_b, up_w, up_b, down_w, down_b, n2_w, n2_b = layer
            qkv = F.linear(entered[i], qkv_w, qkv_b)
            attention = attend(qkv.view(batch, length, 3, heads, -1), p, keep=True)
            branch = F.linear(attention[0].view(rows, channels), out_w, out_b)
            row_ops.add_norm(
                entered[i], branch, n1_w, n1_b, None, None, sums1[i], mids[i], eps, seed, 3 * i, p
            )
            expanded = F.linear(mids[i], up_w, up_b)
            row_ops.gelu_drop(expanded, acted[i], seed, 3 * i + 1, p)
            branch = F.linear(acted[i], down_w, down_b)
            after = entered[i + 1] if i + 1 < count else last
            row_ops.add_norm(
                mids[i], branch, n2_w, n2_b, None, None, sums2[i], after, eps, seed, 3 * i + 2, p
            )
            kept += [qkv, expanded, *attention]
        row_ops.add_norm(
            last, None, *weights[-2:], None, None, None, y.view(rows, channels), eps, None, 0, 0.0
        )
        ctx.save_for_backward(
            *weights, *([] if seed is None else [seed]), entered, mids, sums1, sums2, acted, last,
            *kept,
        )  # fmt: skip
        ctx.sizes = (len(weights), seed is not None, heads, eps, p)
        return y

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        num_weights, seeded, heads, eps, p = ctx.sizes
        saved = list(ctx.saved_tensors)
        weights, saved = saved[:num_weights], saved[num_weights:]
        seed = saved.pop(0) if seeded else None
        entered, mids, sums1, sums2, acted, last, *kept = saved
        layers, (batch, length, channels) = _layers(weights), grad.shape
        count, rows = acted.shape[:2]
        of_out, of_down = (torch.empty_like(entered) for _ in range(2))
        of_up = torch.empty_like(acted)
        parts = grad.new_empty(2 * count + 1, row_ops.norm_parts(rows), 2 * channels)
        flow = row_ops.add_norm_grad(
            grad.contiguous().view(rows, channels), last, weights[-2], None, parts[-1], eps, None,
            0, 0.0,
        )  # fmt: skip
        of_qkv: list[Tensor] = [flow] * count
        for i in reversed(range(count)):
            qkv_w, _, out_w, _, n1_w, _, up_w, _, down_w, _, n2_w, _ = layers[i]
            qkv, expanded, *attention = kept[6 * i : 6 * i + 6]
            flow = row_ops.add_norm_grad(
                flow, sums2[i], n2_w, of_down[i], parts[2 * i + 1], eps, seed, 3 * i + 2, p
            )
            row_ops.gelu_drop_grad(expanded, of_down[i] @ down_w, of_up[i], seed, 3 * i + 1, p)
            flow.addmm_(of_up[i], up_w)
            flow = row_ops.add_norm_grad(
                flow, sums1[i], n1_w, of_out[i], parts[2 * i], eps, seed, 3 * i, p
            )
            of_attended = (of_out[i] @ out_w).view(batch, length, heads, -1)
            of_qkv[i] = attend_grad(
                of_attended, qkv.view(batch, length, 3, heads, -1), tuple(attention), p
            )
            flow.addmm_(of_qkv[i], qkv_w)
        attended = torch.stack([kept[6 * i + 2].view(rows, channels) for i in range(count)])
        matrices = [
            (torch.stack(of_qkv), entered), (of_out, attended), (of_up, mids), (of_down, acted)
        ]  # fmt: skip
        of_weights = [given.transpose(1, 2) @ read for given, read in matrices]
        of_biases = [given.sum(1) for given, _ in matrices]
        norms = parts.sum(1).unflatten(1, (2, channels))
        grads: list[Tensor] = []
        for i in range(count):
            (qkv, out, up, down), (qkv_b, out_b, up_b, down_b) = (
                [of[i] for of in kind] for kind in (of_weights, of_biases)
            )
            grads += [qkv, qkv_b, out, out_b, *norms[2 * i], up, up_b, down, down_b]
            grads += norms[2 * i + 1]
        return flow.view(batch, length, channels), None, None, None, None, *grads, *norms[-1]
