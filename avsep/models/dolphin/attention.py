"""Self-attention over time with learned relative positions."""

from __future__ import annotations

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from avsep.models.cpu import Linear, worthwhile
from avsep.models.dropout import attend, dropout
from avsep.models.full_precision import autocast_dtype
from avsep.models.gpu import layers
from avsep.models.gpu import ops as gpu

QUERIES = 32  # that attend at once on a CPU


class RelativePositions(nn.Module):
    """One table of key positions by distance, shared by all blocks of the separator.

    Args:
        head_size: length of a position vector.
        max_distance: in tokens; larger distances are clamped to -max_distance .. max_distance - 1.
    """

    def __init__(self, head_size: int, max_distance: int) -> None:
        super().__init__()
        self.max_distance = max_distance
        self.table = nn.Embedding(2 * max_distance, head_size)

    def forward(self, length: int) -> Tensor:
        """Vectors for the distances query - key = length - 1 down to -length, (2 length, d)."""
        distance = length - 1 - torch.arange(2 * length, device=self.table.weight.device)
        clamped = distance.clamp(-self.max_distance, self.max_distance - 1)
        return self.table(clamped + self.max_distance)


def position_scores(query: Tensor, positions: Tensor) -> Tensor:
    """Position scores q_i . p(i - j) of all pairs of tokens.

    Row i of the product with the table holds the scores of all distances in order. Reading the
    flattened product in rows that are one entry shorter shifts each row to where its own distances
    start, so that no T x T x d table is built.

    Args:
        query: (B, H, T, d), scaled.
        positions: (2 T, d) from `RelativePositions`.

    Returns:
        (B, H, T, T).
    """
    length = query.shape[-2]
    scores = (query @ positions.t()).flatten(-2)
    shifted = scores[..., length - 1 : length - 1 + length * (2 * length - 1)]
    return shifted.unflatten(-1, (length, 2 * length - 1))[..., :length]


def attend_to_positions(query: Tensor, key: Tensor, value: Tensor, positions: Tensor) -> Tensor:
    """Attention with position scores, a few queries at a time: their scores stay in the cache.

    Args:
        query: (B, H, T, d), not scaled.
        key: (B, H, T, d).
        value: (B, H, T, d).
        positions: (2 T, d) from `RelativePositions`.

    Returns:
        (B, H, T, d).
    """
    shape, (length, size) = query.shape[:2], query.shape[-2:]
    query, key, value = (x.flatten(0, 1) for x in (query * size**-0.5, key, value))
    by_key, by_position = key.transpose(1, 2), positions.t()
    out = torch.empty_like(query, memory_format=torch.contiguous_format)
    for start in range(0, length, QUERIES):
        few = query[:, start : start + QUERIES]
        count = few.shape[1]
        low = length - start - count  # the largest of their distances comes first
        scores = few @ by_position[:, low : low + length + count - 1]
        # The rows shifted as in `position_scores`.
        width = scores.shape[2]
        own = scores.as_strided(
            (len(scores), count, length), (count * width, width - 1, 1), count - 1
        )
        weights = torch.baddbmm(own, few, by_key).softmax(-1)
        out[:, start : start + count] = weights @ value
    return out.unflatten(0, shape)


class SelfAttention(nn.Module):
    """Multi-head self-attention of a layer-normed sequence, without the residual connection.

    Args:
        channels: of input and output; a multiple of `heads`.
        heads: number of attention heads.
        dropout: probability, on the attention weights and on the output.
        layer_scale: initial value of the gain per channel on the output.
    """

    def __init__(self, channels: int, heads: int, dropout: float, layer_scale: float) -> None:
        super().__init__()
        self.heads = heads
        self.dropout = dropout
        self.norm = nn.LayerNorm(channels)
        self.query = Linear(channels, channels)
        self.key = Linear(channels, channels)
        self.value = Linear(channels, channels)
        self.out = Linear(channels, channels)
        self.scale = nn.Parameter(torch.full((channels,), layer_scale))

    def forward(self, x: Tensor, positions: Tensor | None = None) -> Tensor:
        """(B, T, C) to the same shape.

        Args:
            x: the sequence.
            positions: (2 T, C / heads) from `RelativePositions`; None for attention without
                positions.
        """
        y = self.norm(x)
        if (
            gpu.usable(y)
            and autocast_dtype(y) is None
            and not (self.training or torch.is_grad_enabled())
        ):
            parts = (linear(y) for linear in (self.query, self.key, self.value))
            return self.out(gpu.attention(*parts, positions, self.heads)) * self.scale
        query, key, value = (
            rearrange(linear(y), "b t (h d) -> b h t d", h=self.heads)
            for linear in (self.query, self.key, self.value)
        )
        inputs = query, key, value, positions
        if x.is_cpu and self.training and torch.is_grad_enabled():
            # Scores are recomputed in the backward pass: keeping those of all blocks would take a
            # quarter of the memory of a training step, and computing them is little work.
            y = checkpoint(self._attend, *inputs, use_reentrant=False)
        else:
            y = self._attend(*inputs)
        y = self.out(rearrange(y, "b h t d -> b t (h d)"))
        return dropout(y, self.dropout, self.training) * self.scale

    def _attend(
        self, query: Tensor, key: Tensor, value: Tensor, positions: Tensor | None
    ) -> Tensor:
        if positions is not None and worthwhile(query):
            return attend_to_positions(query, key, value, positions)
        bias = None
        if positions is not None and gpu.usable(query) and gpu.usable(positions):
            bias = layers.position_bias(query, positions)
        elif positions is not None:
            scaled = query * (query.shape[-1] ** -0.5)
            bias = position_scores(scaled, positions.to(scaled.dtype))
        return attend(query, key, value, bias, self.dropout if self.training else 0.0)
