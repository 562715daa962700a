"""Self-attention over time with learned relative positions."""

from __future__ import annotations

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from avsep.models.dropout import attend, dropout
from avsep.models.full_precision import autocast_dtype
from avsep.models.gpu import layers
from avsep.models.gpu import ops as gpu


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
        self.query = nn.Linear(channels, channels)
        self.key = nn.Linear(channels, channels)
        self.value = nn.Linear(channels, channels)
        self.out = nn.Linear(channels, channels)
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
        bias = None
        if positions is not None and gpu.usable(query) and gpu.usable(positions):
            bias = layers.position_bias(query, positions)
        elif positions is not None:
            scaled = query * (query.shape[-1] ** -0.5)
            bias = position_scores(scaled, positions.to(scaled.dtype))
        return attend(query, key, value, bias, self.dropout if self.training else 0.0)
