"""From lip features to the video sequence that is fused with the audio.

Shapes: B items, F video frames, C channels.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from avsep.models.cpu import Linear
from avsep.models.dolphin.config import DolphinConfig
from avsep.models.dolphin.injection import InjectionMultiSum
from avsep.models.dolphin.sequence import DepthwiseConv, GlobalNorm, TimeBatchNorm, pool
from avsep.models.dropout import dropout

LEVELS = 3


class LipProjection(nn.Module):
    """A convolution over three frames from lip features to video channels, a norm, PReLU."""

    def __init__(self, feature_size: int, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv1d(feature_size, channels, 3, padding=1)
        self.norm = TimeBatchNorm(channels)
        self.act = nn.PReLU()

    def forward(self, features: Tensor) -> Tensor:
        """(B, F, feature size) to (B, F, C)."""
        return self.act(self.norm(self.conv(features.transpose(1, 2)).transpose(1, 2)))


class InputProjection(nn.Module):
    """A linear map, a batch norm, PReLU."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.linear = Linear(channels, channels)
        self.norm = TimeBatchNorm(channels)
        self.act = nn.PReLU()

    def forward(self, x: Tensor) -> Tensor:
        """(B, F, C) to the same shape."""
        return self.act(self.norm(self.linear(x)))


class Level(nn.Module):
    """A depthwise convolution, which may halve the rate, and a batch norm."""

    def __init__(self, channels: int, stride: int) -> None:
        super().__init__()
        self.conv = DepthwiseConv(channels, 5, stride=stride)
        self.norm = TimeBatchNorm(channels)

    def forward(self, x: Tensor) -> Tensor:
        """(B, F, C) to (B, ceil(F / stride), C)."""
        return self.norm(self.conv(x))


class GlobalMlp(nn.Module):
    """Two linear maps with a depthwise convolution between them, at the coarsest rate.

    Unlike the rest of the trunk, which uses batch norm, it normalises over channels and time.
    """

    def __init__(self, channels: int, dropout: float) -> None:
        super().__init__()
        self.dropout = dropout
        self.first = Linear(channels, channels, bias=False)
        self.first_norm = GlobalNorm(channels, eps=1e-8)
        self.conv = DepthwiseConv(channels, 5)
        self.second = Linear(channels, channels, bias=False)
        self.second_norm = GlobalNorm(channels, eps=1e-8)

    def forward(self, x: Tensor) -> Tensor:
        """(B, F, C) to the same shape."""
        x = F.relu(self.conv(self.first_norm(self.first(x))))
        x = dropout(x, self.dropout, self.training)
        x = self.second_norm(self.second(x))
        return dropout(x, self.dropout, self.training)


class VideoTrunk(nn.Module):
    """The video sequence at three rates: their sum is injected into each, then they are merged.

    As in the released model, the coarsest level is not merged, and the first merge takes the finest
    level as its outer input. `unused_inject` is never computed with; it keeps the released names.
    """

    def __init__(self, config: DolphinConfig) -> None:
        super().__init__()
        channels = config.video_channels

        def inject() -> InjectionMultiSum:
            return InjectionMultiSum(
                channels, TimeBatchNorm, config.heat, carry_unused=config.carry_unused
            )

        self.enter = InputProjection(channels)
        self.levels = nn.ModuleList(Level(channels, 1 if i == 0 else 2) for i in range(LEVELS))
        self.global_mlp = GlobalMlp(channels, config.video_dropout)
        self.inject = nn.ModuleList(inject() for _ in range(LEVELS - 1))
        self.unused_inject = inject().requires_grad_(False) if config.carry_unused else None
        self.merge = nn.ModuleList(inject() for _ in range(LEVELS - 1))
        self.leave = Linear(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """(B, F, C) to the same shape, with residual."""
        level = self.enter(x)
        levels: list[Tensor] = []
        for layer in self.levels:
            level = layer(level)
            levels.append(level)
        outer = sum((pool(finer, level.shape[1]) for finer in levels[:-1]), start=level)
        outer = self.global_mlp(outer)
        fine, middle = (
            inject(finer, outer) for inject, finer in zip(self.inject, levels[:-1], strict=True)
        )
        merged = self.merge[1](middle, fine)
        merged = self.merge[0](fine, merged)
        return self.leave(merged) + x
