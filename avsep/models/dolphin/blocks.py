"""The separator's two kinds of block: global (attention at a low rate) and local (heat)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from avsep.models.cpu import Linear, worthwhile
from avsep.models.dolphin.attention import SelfAttention
from avsep.models.dolphin.config import DolphinConfig
from avsep.models.dolphin.heat import HeatDiffusion
from avsep.models.dolphin.sequence import DepthwiseConv, GlobalNorm, add_scaled, pool_evenly
from avsep.models.dolphin.tiles import by_tiles
from avsep.models.dropout import dropout
from avsep.models.full_precision import autocast_dtype
from avsep.models.gpu import block_ops, layers
from avsep.models.gpu import ops as gpu


class FeedForward(nn.Module):
    """Feed-forward with residual: widen to 3 C, convolve over time, gate to 3 C / 2, project to C.

    Args:
        channels: of input and output; even.
        dropout: probability, after the gate and on the output.
        layer_scale: initial value of the gain per channel on the branch.
    """

    def __init__(self, channels: int, dropout: float, layer_scale: float) -> None:
        super().__init__()
        self.dropout = dropout
        self.norm = nn.LayerNorm(channels)
        self.grow = Linear(channels, 3 * channels)
        self.mix = DepthwiseConv(3 * channels, 3)
        self.shrink = Linear(3 * channels // 2, channels)
        self.scale = nn.Parameter(torch.full((channels,), layer_scale))

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, C) to the same shape."""
        if worthwhile(x) and not self.training:
            return by_tiles(self.compute, 1, x)
        return self.compute(x)

    def compute(self, x: Tensor) -> Tensor:
        """The same for a tile; it depends on one frame on either side."""
        y = self.grow(self.norm(x))
        if gpu.usable(y) and not torch.is_grad_enabled():
            y = block_ops.mix_glu(y, self.mix.weight, self.mix.bias)
        else:
            y = F.glu(self.mix(y), dim=-1)
        y = self.shrink(dropout(y, self.dropout, self.training))
        return add_scaled(x, dropout(y, self.dropout, self.training), self.scale)


class GlobalBlock(nn.Module):
    """Attention over the sequence pooled to few tokens, gated back into it; then feed-forward."""

    def __init__(self, config: DolphinConfig) -> None:
        super().__init__()
        channels = config.channels
        self.attention = SelfAttention(channels, config.heads, config.dropout, config.layer_scale)
        self.gate_norm = nn.LayerNorm(channels)
        self.gate = Linear(channels, channels)
        self.feed_forward = FeedForward(channels, config.dropout, config.layer_scale)

    def forward(self, x: Tensor, positions: Tensor) -> Tensor:
        """(B, T, C) to the same shape; positions (2 P, d) for P tokens, where P divides T."""
        tokens = positions.shape[0] // 2
        attended = self.attention(pool_evenly(x, tokens), positions)
        if worthwhile(x) and not self.training:
            return by_tiles(self.compute, x.shape[1] // tokens, x, attended)
        gate = self.gate(self.gate_norm(x))
        if all(map(gpu.usable, (x, gate, attended))) and attended.shape[1] <= x.shape[1]:
            return self.feed_forward(layers.gate_add(x, gate, attended))
        return self.feed_forward(gate_into(x, gate, attended))

    def compute(self, x: Tensor, attended: Tensor) -> Tensor:
        """What follows the attention, for a tile and its tokens."""
        gate = self.gate(self.gate_norm(x))
        return self.feed_forward.compute(gate_into(x, gate, attended))


def gate_into(x: Tensor, gate: Tensor, attended: Tensor) -> Tensor:
    """x + sigmoid(gate) * attended, (B, T, C), with `attended` (B, P, C) at its own rate."""
    branch = torch.sigmoid(gate).unflatten(1, (attended.shape[1], -1)) * attended.unsqueeze(2)
    return x + branch.flatten(1, 2)


class LocalBlock(nn.Module):
    """Heat diffusion and a long depthwise convolution, with residual; then feed-forward."""

    def __init__(self, config: DolphinConfig) -> None:
        super().__init__()
        channels = config.channels
        self.dropout = config.dropout
        self.heat = HeatDiffusion(channels, config.heat, carry_unused=config.carry_unused)
        self.norm_in = GlobalNorm(channels, eps=1e-5)
        self.wide = DepthwiseConv(channels, config.local_kernel)
        self.narrow = DepthwiseConv(channels, 3)
        self.norm_out = GlobalNorm(channels, eps=1e-5)
        self.scale = nn.Parameter(torch.full((channels,), config.layer_scale))
        self.feed_forward = FeedForward(channels, config.dropout, config.layer_scale)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, C) to the same shape."""
        y = self.heat(x)
        if worthwhile(x) and not self.training:
            return self._by_tiles(x, y)
        y = self.norm_in(y)
        if (
            gpu.usable(y)
            and gpu.usable(x)
            and autocast_dtype(y) is None
            and not (self.training or torch.is_grad_enabled())
        ):
            y = self.narrow(layers.depthwise(y, self.wide.weight, self.wide.bias, gelu=True))
            norm, scale = self.norm_out, self.scale
            fused = layers.global_norm_then(
                y, norm.weight, norm.bias, norm.eps, scale=scale, residual=x
            )
            return self.feed_forward(fused)
        y = self.narrow(F.gelu(self.wide(y)))
        y = self.norm_out(dropout(y, self.dropout, self.training))
        return self.feed_forward(add_scaled(x, y, self.scale))

    def _by_tiles(self, x: Tensor, heat: Tensor) -> Tensor:
        """What follows the heat, in tiles between the two norms over all frames."""

        def middle(y: Tensor, gain: Tensor, shift: Tensor) -> Tensor:
            return self.narrow(F.gelu(self.wide(torch.addcmul(shift, y, gain))))

        def end(x: Tensor, y: Tensor, gain: Tensor, shift: Tensor) -> Tensor:
            return self.feed_forward.compute(torch.addcmul(x + shift, y, gain))

        halo = self.wide.weight.shape[-1] // 2 + 1
        y = by_tiles(middle, halo, heat, *self.norm_in.affine(heat))
        gain, shift = self.norm_out.affine(y)
        return by_tiles(end, 1, x, y, gain * self.scale, shift * self.scale)
