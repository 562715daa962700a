"""Dropout, and attention with dropout, that are faster than PyTorch's on the CPU.

The library's dropout draws every element in one thread, about 7 ns each, which was more than a
fifth of a training step. Here one 64-bit draw decides for four elements. The library's attention
with dropout also guards against fully masked rows, which never occur here.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

_STEPS = 1 << 16  # a 16-bit number decides for each element


def dropout(x: Tensor, probability: float, training: bool) -> Tensor:
    """Zero each element with a probability and scale the others by 1 / (1 - probability).

    On the CPU the probability is rounded to a multiple of 2^-16. The scale follows the rounded
    probability, so that the mean is kept. Draws come from PyTorch's default generator.

    Args:
        x: a tensor of any shape.
        probability: at least 0 and below 1.
        training: whether to drop anything; otherwise `x` is returned.
    """
    if not training or probability == 0.0:
        return x
    if not x.is_cpu:
        return torch.native_dropout(x, probability, True)[0]
    if torch.compiler.is_compiling():
        return F.dropout(x, probability, training)
    dropped = min(round(probability * _STEPS), _STEPS - 1)
    bits = torch.empty((x.numel() + 3) // 4, dtype=torch.int64).random_(-(2**63), None)
    bits = bits.view(torch.int16)[: x.numel()].view(x.shape)
    factor = torch.empty_like(x, memory_format=torch.contiguous_format, requires_grad=False)
    torch.ge(bits, dropped - _STEPS // 2, out=factor)
    return x * factor.mul_(_STEPS / (_STEPS - dropped))


def attend(
    query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None, probability: float
) -> Tensor:
    """Attention with dropout on its weights, (..., T, d).

    Args:
        query: (..., T, d), scaled here by d^-0.5.
        key: (..., S, d).
        value: (..., S, d).
        bias: (..., T, S), finite numbers that are added to the scores.
        probability: dropout probability; 0 outside training.
    """
    if probability == 0.0 or query.device.type != "cpu" or torch.compiler.is_compiling():
        return F.scaled_dot_product_attention(
            query, key, value, attn_mask=bias, dropout_p=probability
        )
    scaled = query * query.shape[-1] ** -0.5
    if bias is None:
        scores = scaled @ key.transpose(-2, -1)
    else:
        batch, lengths = query.shape[:-2], (query.shape[-2], key.shape[-2])
        scores = torch.baddbmm(
            bias.expand(*batch, *lengths).flatten(0, -3),
            scaled.flatten(0, -3),
            key.transpose(-2, -1).flatten(0, -3),
        ).view(*batch, *lengths)
    weights = scores.softmax(-1).to(value.dtype)
    return dropout(weights, probability, True) @ value
