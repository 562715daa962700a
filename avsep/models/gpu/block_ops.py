"""Operations of whole blocks: position scores, gates and injections, one kernel each; see `ops`."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from avsep.models.gpu.ops import BLOCK, check_inputs, power


def _kernels(*inputs: Tensor | None) -> Any:
    check_inputs(*inputs)
    from avsep.models.gpu import block_kernels

    return block_kernels


@torch.library.custom_op("avsep::position_bias", mutates_args=())
def position_bias(query: Tensor, positions: Tensor) -> Tensor:
    """Scores d^-0.5 q_i . p(i - j) of all pairs, (B, H, T, T padded to 8), from (B, H, T, d)."""
    batch, heads, length, size = query.shape
    width = -(-length // 8) * 8  # rows that start aligned, as the attention kernel wants them
    out = query.new_empty(batch, heads, length, width)
    grid = (-(-length // 32), -(-width // 64), batch * heads)
    _kernels(query, positions).position_bias[grid](
        query, positions, out, length, width, heads, size, size**-0.5, *query.stride()[:3],
        BM=32, BN=64,
    )  # fmt: skip
    return out


@position_bias.register_fake
def _(query, positions):  # type: ignore[no-untyped-def]
    length = query.shape[2]
    return query.new_empty(*query.shape[:2], length, (length + 7) // 8 * 8)


@torch.library.custom_op("avsep::position_bias_query_grad", mutates_args=())
def position_bias_query_grad(grad: Tensor, positions: Tensor) -> Tensor:
    """The gradient of the query (B, H, T, d); grad is contiguous."""
    batch, heads, length = grad.shape[:3]
    size = positions.shape[1]
    out = grad.new_empty(batch, heads, length, size)
    _kernels(grad, positions).position_bias_query_grad[(-(-length // 32), batch * heads)](
        grad, positions, out, length, size, size**-0.5, BM=32, BD=power(size)
    )
    return out


@position_bias_query_grad.register_fake
def _(grad, positions):  # type: ignore[no-untyped-def]
    return grad.new_empty(*grad.shape[:3], positions.shape[1])


@torch.library.custom_op("avsep::position_bias_table_grad", mutates_args=())
def position_bias_table_grad(query: Tensor, grad: Tensor) -> Tensor:
    """The gradient of the positions, for each item and head, (B H, 2 T, d); grad is contiguous."""
    batch, heads, length, size = query.shape
    out = grad.new_empty(batch * heads, 2 * length, size)
    _kernels(query, grad).position_bias_table_grad[(-(-2 * length // 64), batch * heads)](
        query, grad, out, length, heads, size, size**-0.5, *query.stride()[:3],
        BR=64, BD=power(size),
    )  # fmt: skip
    return out


@position_bias_table_grad.register_fake
def _(query, grad):  # type: ignore[no-untyped-def]
    batch, heads, length, size = query.shape
    return grad.new_empty(batch * heads, 2 * length, size)


@torch.library.custom_op("avsep::gate_add", mutates_args=())
def gate_add(x: Tensor, gate: Tensor, branch: Tensor) -> Tensor:
    """x + sigmoid(gate) * branch, (B, T, C); branch (B, T / r, C) is repeated r times."""
    size, repeat = x[0].numel(), x.shape[1] // branch.shape[1]
    y = torch.empty_like(x)
    _kernels(x, gate, branch).gate_add[(-(-size // BLOCK), len(x))](
        x, gate, branch, y, size, x.shape[2], repeat, BLOCK=BLOCK
    )
    return y


@gate_add.register_fake
def _(x, gate, branch):  # type: ignore[no-untyped-def]
    return torch.empty_like(x)


@torch.library.custom_op("avsep::gate_add_grad", mutates_args=())
def gate_add_grad(gate: Tensor, branch: Tensor, grad: Tensor) -> tuple[Tensor, Tensor]:
    """The gradients of gate and branch."""
    of_gate, of_branch = torch.empty_like(gate), torch.empty_like(branch)
    tokens, channels = branch.shape[1:]
    _kernels(gate, branch, grad).gate_add_grad[(tokens, len(branch))](
        gate, branch, grad, of_gate, of_branch, tokens, channels, gate.shape[1] // tokens,
        BC=power(channels),
    )  # fmt: skip
    return of_gate, of_branch


@gate_add_grad.register_fake
def _(gate, branch, grad):  # type: ignore[no-untyped-def]
    return torch.empty_like(gate), torch.empty_like(branch)


@torch.library.custom_op("avsep::inject", mutates_args=())
def inject(local: Tensor, shift: Tensor, gate: Tensor) -> Tensor:
    """local * sigmoid(gate) + shift, (B, T, C); gate and shift of another rate (B, T', C)."""
    size, y = local[0].numel(), torch.empty_like(local)
    _kernels(local, shift, gate).inject[(-(-size // BLOCK), len(local))](
        local, shift, gate, y, size, local.shape[2], local.shape[1], gate.shape[1], BLOCK=BLOCK
    )
    return y


@inject.register_fake
def _(local, shift, gate):  # type: ignore[no-untyped-def]
    return torch.empty_like(local)


@torch.library.custom_op("avsep::mix_glu", mutates_args=())
def mix_glu(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Depthwise convolution of three taps and GLU, (B, T, 2 C) to (B, T, C)."""
    batch, length, double = x.shape
    channels = double // 2
    y, block = x.new_empty(batch, length, channels), min(power(channels), 64)
    _kernels(x, weight, bias).mix_glu[(-(-length // 16), -(-channels // block), batch)](
        x, weight, bias, y, length, channels, BT=16, BC=block
    )
    return y


@mix_glu.register_fake
def _(x, weight, bias):  # type: ignore[no-untyped-def]
    return x.new_empty(x.shape[0], x.shape[1], x.shape[2] // 2)


@torch.library.custom_op("avsep::context_gate", mutates_args=())
def context_gate(
    x: Tensor, score_w: Tensor, score_b: Tensor, shrink_w: Tensor, shrink_b: Tensor,
    grow_w: Tensor, grow_b: Tensor,
) -> Tensor:  # fmt: skip
    """Gates (N, C) of frames (N, P, C), see `ContextGate`."""
    frames, positions, channels = x.shape
    hidden = len(shrink_b)
    out = x.new_empty(frames, channels)
    _kernels(x, score_w, score_b, shrink_w, shrink_b, grow_w, grow_b).context_gate[(frames,)](
        x, score_w, score_b, shrink_w, shrink_b, grow_w, grow_b, out, positions, channels, hidden,
        BP=128, BC=power(channels), BH=power(hidden),
    )  # fmt: skip
    return out


@context_gate.register_fake
def _(x, *weights):  # type: ignore[no-untyped-def]
    return x.new_empty(x.shape[0], x.shape[2])
