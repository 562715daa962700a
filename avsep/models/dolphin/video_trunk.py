"""From lip features to the short video sequence that is fused with the sound."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from avsep.models.dolphin.config import DolphinConfig
from avsep.models.dolphin.inject import Inject
from avsep.models.dolphin.sequence import DepthwiseConv, GlobalNorm, TimeBatchNorm, pool
from avsep.models.dropout import dropout

LEVELS = 3


class LipProjection(nn.Module):
    """Convolution over three frames from lip features to video channels, norm, PReLU."""

    def __init__(self, feature_size: int, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv1d(feature_size, channels, 3, padding=1)
        self.norm = TimeBatchNorm(channels)
        self.act = nn.PReLU()

    def forward(self, features: Tensor) -> Tensor:
        """(B, F, feature size) to (B, F, C)."""
        return self.act(self.norm(self.conv(features.transpose(1, 2)).transpose(1, 2)))


class Enter(nn.Module):
    """A linear map, batch norm, PReLU."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.linear = nn.Linear(channels, channels)
        self.norm = TimeBatchNorm(channels)
        self.act = nn.PReLU()

    def forward(self, x: Tensor) -> Tensor:
        """(B, F, C) to the same shape."""
        return self.act(self.norm(self.linear(x)))


class Level(nn.Module):
    """A depthwise convolution, which may halve the rate, and batch norm."""

    def __init__(self, channels: int, stride: int) -> None:
        super().__init__()
        self.conv = DepthwiseConv(channels, 5, stride=stride)
        self.norm = TimeBatchNorm(channels)

    def forward(self, x: Tensor) -> Tensor:
        """(B, F, C) to (B, ceil(F / stride), C)."""
        return self.norm(self.conv(x))


class GlobalMlp(nn.Module):
    """Two linear maps with a depthwise convolution between, on the coarsest sequence.

    Its norms are over channels and time, although the rest of the trunk uses batch norm.
    """

    def __init__(self, channels: int, dropout: float) -> None:
        super().__init__()
        self.dropout = dropout
        self.first = nn.Linear(channels, channels, bias=False)
        self.first_norm = GlobalNorm(channels, eps=1e-8)
        self.conv = DepthwiseConv(channels, 5)
        self.second = nn.Linear(channels, channels, bias=False)
        self.second_norm = GlobalNorm(channels, eps=1e-8)

    def forward(self, x: Tensor) -> Tensor:
        """(B, F, C) to the same shape."""
        x = F.relu(self.conv(self.first_norm(self.first(x))))
        x = dropout(x, self.dropout, self.training)
        x = self.second_norm(self.second(x))
        return dropout(x, self.dropout, self.training)


class VideoTrunk(nn.Module):
    """Three rates of the video sequence, each seeing their sum, merged from coarse to fine.

    As released, the coarsest level is merged nowhere, and the first merge takes the finest level
    as its outer input; the unused Inject is carried only for the released names (frozen).
    """

    def __init__(self, config: DolphinConfig) -> None:
        super().__init__()
        channels = config.video_channels

        def inject() -> Inject:
            return Inject(channels, TimeBatchNorm, config.heat, carry_unused=config.carry_unused)

        self.enter = Enter(channels)
        self.levels = nn.ModuleList(Level(channels, 1 if i == 0 else 2) for i in range(LEVELS))
        self.global_mlp = GlobalMlp(channels, config.video_dropout)
        self.inject = nn.ModuleList(inject() for _ in range(LEVELS - 1))
        self.unused_inject = inject().requires_grad_(False) if config.carry_unused else None
        self.merge = nn.ModuleList(inject() for _ in range(LEVELS - 1))
        self.leave = nn.Linear(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """(B, F, C) to the same shape, residual included."""
        level = self.enter(x)
        levels: list[Tensor] = []
        for halve in self.levels:
            level = halve(level)
            levels.append(level)
        outer = sum((pool(one, level.shape[1]) for one in levels[:-1]), start=level)
        outer = self.global_mlp(outer)
        fine, middle = (
            inject(one, outer) for inject, one in zip(self.inject, levels[:-1], strict=True)
        )
        merged = self.merge[1](middle, fine)
        merged = self.merge[0](fine, merged)
        return self.leave(merged) + x
