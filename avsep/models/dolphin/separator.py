"""The separator: a U-shaped stack of global and local blocks over the fused sequence.

Shapes: B items, T frames, C channels.
"""

from __future__ import annotations

import functools

import torch.nn.functional as F
from torch import Tensor, nn

from avsep.models.dolphin.attention import RelativePositions, SelfAttention
from avsep.models.dolphin.blocks import FeedForward, GlobalBlock, LocalBlock
from avsep.models.dolphin.config import DolphinConfig
from avsep.models.dolphin.injection import InjectionMultiSum
from avsep.models.dolphin.sequence import DepthwiseConv, GlobalNorm, norm_gelu, pool_evenly

INJECT_EPS = 1e-8


class Downsample(nn.Module):
    """Halve the rate: a depthwise convolution of stride 2, a norm, GELU."""

    def __init__(self, config: DolphinConfig) -> None:
        super().__init__()
        self.conv = DepthwiseConv(config.channels, config.down_kernel, stride=2)
        self.norm = GlobalNorm(config.channels, eps=1e-5)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, C) to (B, T / 2, C)."""
        return norm_gelu(self.conv(x), self.norm)


class Stage(nn.Module):
    """Pairs of a global and a local block, all at one rate.

    Args:
        config: sizes.
        pairs: number of pairs.
    """

    def __init__(self, config: DolphinConfig, pairs: int) -> None:
        super().__init__()
        self.globals = nn.ModuleList(GlobalBlock(config) for _ in range(pairs))
        self.locals = nn.ModuleList(LocalBlock(config) for _ in range(pairs))

    def forward(self, x: Tensor, positions: Tensor) -> Tensor:
        """(B, T, C) to the same shape."""
        for global_block, local_block in zip(self.globals, self.locals, strict=True):
            x = local_block(global_block(x, positions))
        return x


class Bottleneck(nn.Module):
    """Attention without positions and without residual, then feed-forward."""

    def __init__(self, config: DolphinConfig) -> None:
        super().__init__()
        self.attention = SelfAttention(
            config.channels, config.heads, config.dropout, config.layer_scale
        )
        self.feed_forward = FeedForward(config.channels, config.dropout, config.layer_scale)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, C) to the same shape."""
        return self.feed_forward(self.attention(x))


class Separator(nn.Module):
    """Maps the fused sequence to the separated one, both (B, T, C).

    T is first padded with zeros to a multiple of 2 ** stages. All global blocks attend over
    T / 2 ** stages tokens.
    """

    def __init__(self, config: DolphinConfig) -> None:
        super().__init__()
        self.multiple = 2**config.stages
        self.positions = RelativePositions(config.channels // config.heads, config.max_distance)
        self.encoder = nn.ModuleList(
            Stage(config, config.encoder_blocks) for _ in range(config.stages)
        )
        self.halve = nn.ModuleList(Downsample(config) for _ in range(config.stages))
        self.bottleneck = Bottleneck(config)
        inject = functools.partial(
            InjectionMultiSum,
            config.channels,
            functools.partial(GlobalNorm, eps=INJECT_EPS),
            config.heat,
            carry_unused=config.carry_unused,
        )
        self.inject = nn.ModuleList(inject() for _ in range(config.stages))
        self.widen = nn.ModuleList(inject() for _ in range(config.stages))
        self.decoder = nn.ModuleList(
            Stage(config, config.decoder_blocks) for _ in range(config.stages)
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, C) to (B, padded T, C)."""
        x = F.pad(x, (0, 0, 0, -x.shape[1] % self.multiple))
        tokens = x.shape[1] // self.multiple
        positions = self.positions(tokens)
        skips: list[Tensor] = []
        total: Tensor | None = None  # sum of all halved outputs, at twice the token rate
        for stage, halve in zip(self.encoder, self.halve, strict=True):
            skip = stage(x, positions)
            skips.append(skip)
            x = halve(skip)
            pooled = pool_evenly(x, 2 * tokens)
            total = pooled if total is None else total + pooled
        outer = self.bottleneck(total)
        skips = [inject(skip, outer) for inject, skip in zip(self.inject, skips, strict=True)]
        for widen, stage, skip in zip(self.widen, self.decoder, reversed(skips), strict=True):
            x = stage(widen(skip, x), positions)
        return x
