"""Spatial attention between the positions of one frame: full, or linear in their number.

Shapes: B items, F frames, H height, W width, C channels of the feature map.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from avsep.models.dolphin.lip_layers import RmsNorm, SpatialFeedForward
from avsep.models.full_precision import full_precision

MEMORY = 4  # learned keys and values, before those of the frame
_FRAMES_AT_ONCE = 4


class FullAttention(nn.Module):
    """Softmax attention over the positions of a frame and a few learned ones, with residual."""

    def __init__(self, channels: int, heads: int, head_size: int) -> None:
        super().__init__()
        self.heads = heads
        self.memory = nn.Parameter(torch.randn(2, heads, MEMORY, head_size))
        self.norm = RmsNorm(channels)
        self.query_key_value = nn.Linear(channels, 3 * heads * head_size, bias=False)
        self.out = nn.Linear(heads * head_size, channels, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, F, H, W, C) to the same shape."""
        positions = self.norm(x).flatten(0, 1).flatten(1, 2)
        query, key, value = rearrange(
            self.query_key_value(positions),
            "n p (three h d) -> three n h p d",
            three=3,
            h=self.heads,
        )
        memory = self.memory.to(key.dtype).unsqueeze(1).expand(-1, len(positions), -1, -1, -1)
        key = torch.cat([memory[0], key], dim=2)
        value = torch.cat([memory[1], value], dim=2)
        y = F.scaled_dot_product_attention(query, key, value)
        return x + self.out(rearrange(y, "n h p d -> n p (h d)")).view(x.shape)


class LinearAttention(nn.Module):
    """Attention with weights 1 + s + s^2 / 2 for s = q . k instead of exp(s), with residual."""

    def __init__(self, channels: int, heads: int, head_size: int) -> None:
        super().__init__()
        self.heads = heads
        self.head_size = head_size
        inner = heads * head_size
        self.norm = RmsNorm(channels)
        self.query = nn.Linear(channels, inner, bias=False)
        self.key_value = nn.Linear(channels, 2 * inner, bias=False)
        self.out = nn.Linear(inner, channels, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, F, H, W, C) to the same shape."""
        positions = self.norm(x).flatten(0, 1).flatten(1, 2)
        query = rearrange(self.query(positions), "n p (h d) -> n h d p", h=self.heads).contiguous()
        key, value = rearrange(
            self.key_value(positions), "n p (two h d) -> two n h d p", two=2, h=self.heads
        ).contiguous()
        with full_precision(x):  # sums of many products
            y = taylor_attention(query.float() * self.head_size**-0.5, key.float(), value.float())
        return x + self.out(rearrange(y, "n h d p -> n p (h d)")).view(x.shape)


def taylor_attention(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Attention with weights 1 + s + s^2 / 2; all tensors are (frames, heads, d, positions).

    s^2 is a dot product of the vectors of all products of two entries. So the sums over the keys
    are computed once, and the cost is linear in the number of positions.
    """
    if query.is_cpu and not torch.compiler.is_compiling() and len(query) > _FRAMES_AT_ONCE:
        # Few frames at once, so that the products stay in the CPU cache: twice as fast.
        parts = zip(*(x.split(_FRAMES_AT_ONCE) for x in (query, key, value)), strict=True)
        return torch.cat([taylor_attention(*part) for part in parts])
    with_ones = F.pad(value, (0, 0, 0, 1), value=1.0)  # the last row sums the weights
    by_key = with_ones.transpose(-1, -2)
    linear = (key @ by_key).transpose(-1, -2)  # (frames, heads, d + 1, d)
    square = (_products(key) @ by_key).transpose(-1, -2)
    sums = linear @ query + 0.5 * (square @ _products(query)) + with_ones.sum(-1, keepdim=True)
    return sums[..., :-1, :] / sums[..., -1:, :].clamp_min(1e-5)


def _products(x: Tensor) -> Tensor:
    """All products of two entries, (..., d, positions) to (..., d * d, positions)."""
    return (x.unsqueeze(-2) * x.unsqueeze(-3)).flatten(-3, -2)


class SpatialBlock(nn.Module):
    """Attention over the positions of a frame, then a feed-forward at each position."""

    def __init__(self, attention: FullAttention | LinearAttention, channels: int) -> None:
        super().__init__()
        self.attention = attention
        self.feed_forward = SpatialFeedForward(channels)

    def forward(self, x: Tensor) -> Tensor:
        """(B, F, H, W, C) to the same shape."""
        return self.feed_forward(self.attention(x))
