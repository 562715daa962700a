"""Dropout, and attention with it, without the price that PyTorch's has on the CPU.

There the library draws each element from one thread, some 7 ns of it, which was over a fifth of a
training step; and its attention with dropout guards every row against being masked wholly. Here
one 64-bit draw decides over four elements, and no row is ever masked.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

_STEPS = 1 << 16  # a 16-bit number decides over an element


def dropout(x: Tensor, probability: float, training: bool) -> Tensor:
    """Zero each element with a probability and scale the others by 1 / (1 - probability).

    On the CPU the probability is rounded to a multiple of 2^-16, and the scale is of the rounded
    one, so that the mean stays. Draws come from PyTorch's default generator.

    Args:
        x: of any shape.
        probability: at least 0 and below 1.
        training: nothing happens without.
    """
    if not training or probability == 0.0:
        return x
    if x.device.type != "cpu" or torch.compiler.is_compiling():
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
    """Attention with dropout on its weights: query (..., T, d), key and value (..., S, d).

    Args:
        query: scaled here by d^-0.5.
        key: as the library's function takes it.
        value: the same.
        bias: finite numbers that are added to the scores, (..., T, S).
        probability: of dropout; 0 outside of training.
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
