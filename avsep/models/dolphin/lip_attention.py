"""Spatial attention between the positions of one frame: full, or linear in their number.

Shapes: B items, F frames, H height, W width, C channels of the feature map.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from avsep.models.cpu import Linear, for_any_length, worthwhile
from avsep.models.dolphin.lip_layers import RmsNorm, SpatialFeedForward
from avsep.models.full_precision import full_precision

MEMORY = 4  # learned keys and values, before those of the frame
_FRAMES_AT_ONCE = 2


class FullAttention(nn.Module):
    """Softmax attention over the positions of a frame and a few learned ones, with residual."""

    def __init__(self, channels: int, heads: int, head_size: int) -> None:
        super().__init__()
        self.heads = heads
        self.memory = nn.Parameter(torch.randn(2, heads, MEMORY, head_size))
        self.norm = RmsNorm(channels)
        self.query_key_value = Linear(channels, 3 * heads * head_size, bias=False)
        self.out = Linear(heads * head_size, channels, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, F, H, W, C) to the same shape."""
        positions = self.norm(x).flatten(0, 1).flatten(1, 2)
        query, key, value = rearrange(
            self.query_key_value(positions),
            "n p (three h d) -> three n h p d",
            three=3,
            h=self.heads,
        )
        memory = self.memory.to(key.dtype).unsqueeze(1).expand(-1, positions.shape[0], -1, -1, -1)
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
        self.query = Linear(channels, inner, bias=False)
        self.key_value = Linear(channels, 2 * inner, bias=False)
        self.out = Linear(inner, channels, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, F, H, W, C) to the same shape."""
        positions = self.norm(x).flatten(0, 1).flatten(1, 2)
        if worthwhile(x):  # few frames at once, so that all stays in the CPU cache
            parts = [self._attend(few) for few in positions.split(_FRAMES_AT_ONCE)]
            return x + torch.cat(parts).view(x.shape)
        return x + self._attend(positions).view(x.shape)

    def _attend(self, positions: Tensor) -> Tensor:
        """(frames, positions, C) to the same shape."""
        # Weights from the left: entries of a head then lie together, each over all positions.
        weight = torch.cat([self.query.weight, self.key_value.weight])
        mapped = (weight @ positions.transpose(1, 2)).unflatten(1, (3, self.heads, self.head_size))
        query, key, value = mapped.unbind(1)
        with full_precision(positions):  # sums of many products
            y = taylor_attention(query.float() * self.head_size**-0.5, key.float(), value.float())
        return self.out(y.flatten(1, 2).transpose(1, 2))


def taylor_attention(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Attention with weights 1 + s + s^2 / 2; all tensors are (frames, heads, d, positions).

    The weight is a dot product of the vectors of powers of two entries, see `_powers`. So the sums
    over the keys are computed once, and the cost is linear in the number of positions.
    """
    with_ones = F.pad(value, (0, 0, 0, 1), value=1.0)  # the last row sums the weights
    if query.is_cpu and not for_any_length():
        by_key = with_ones @ _powers(key).transpose(-1, -2)  # (frames, heads, d + 1, powers)
        sums = (by_key * _shares(query.shape[-2], query.device)) @ _powers(query)
    else:  # twice the products, but far fewer kernels
        sums = (with_ones @ _all_powers(key, 1.0).transpose(-1, -2)) @ _all_powers(query, 0.5)
    return sums[..., :-1, :] / sums[..., -1:, :].clamp_min(1e-5)


def _all_powers(x: Tensor, share: float) -> Tensor:
    """1, the entries, and all products of two entries times a share.

    (..., d, positions) to (..., 1 + d + d * d, positions).
    """
    products = (x.unsqueeze(-2) * (share * x).unsqueeze(-3)).flatten(-3, -2)
    return torch.cat([torch.ones_like(x[..., :1, :]), x, products], dim=-2)


def _powers(x: Tensor) -> Tensor:
    """1, the entries, and the products of two entries, each pair once.

    (..., d, positions) to (..., 1 + d + d (d + 1) / 2, positions).
    """
    size = x.shape[-2]
    ones = torch.ones_like(x[..., :1, :])
    return torch.cat([ones, x, *(x[..., i : i + 1, :] * x[..., i:, :] for i in range(size))], -2)


def _shares(size: int, device: torch.device) -> Tensor:
    """What each power counts in 1 + s + s^2 / 2: one half for squares, one for the others."""
    share = torch.ones(1 + size + size * (size + 1) // 2, device=device)
    return share.index_fill(0, 1 + size + _squares(size, device), 0.5)


def _squares(size: int, device: torch.device) -> Tensor:
    """Places of the squares among the products of two entries."""
    row = torch.arange(size, device=device)
    return row * size - row * (row - 1) // 2


class SpatialBlock(nn.Module):
    """Attention over the positions of a frame, then a feed-forward at each position."""

    def __init__(self, attention: FullAttention | LinearAttention, channels: int) -> None:
        super().__init__()
        self.attention = attention
        self.feed_forward = SpatialFeedForward(channels)

    def forward(self, x: Tensor) -> Tensor:
        """(B, F, H, W, C) to the same shape."""
        return self.feed_forward(self.attention(x))
