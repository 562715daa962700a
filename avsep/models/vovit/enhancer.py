"""The lead-voice enhancer: a U-Net that masks the magnitudes of the first stage's estimate.

Shapes: B items, C channels, F bins, T spectral frames.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from avsep.models.gpu.convolution import Conv2d
from avsep.models.vovit.config import EnhancerConfig


class ConvBlock(nn.Module):
    """Convolution without bias and batch normalisation."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int) -> None:
        super().__init__()
        self.conv = Conv2d(in_channels, out_channels, kernel, padding=kernel // 2, bias=False)
        self.norm = nn.BatchNorm2d(out_channels)

    def forward(self, x_BCFT: Tensor) -> Tensor:
        """(B, C, F, T) to (B, C', F, T)."""
        return self.norm(self.conv(x_BCFT))


class Enhancer(nn.Module):
    """Magnitudes to a mask in 0..1."""

    def __init__(self, config: EnhancerConfig) -> None:
        super().__init__()
        down = config.channels
        # The first decoder block sees the bottleneck; the others see the previous block's output
        # concatenated with the encoder's output of the same size.
        up = (down[-1], *reversed(down[:-1]), down[0])
        skips = (0, *reversed(down))
        self.down = nn.ModuleList(
            ConvBlock(a, b, kernel=5) for a, b in zip((1, *down[:-1]), down, strict=True)
        )
        self.up = nn.ModuleList(
            ConvBlock(a + skip, b, kernel=3)
            for a, skip, b in zip((down[-1], *up[:-1]), skips, up, strict=True)
        )
        self.mask = nn.Conv2d(up[-1], 1, 1)
        self._start_open()

    def _start_open(self) -> None:
        """Initialise the mask near 0.9 everywhere, so that an untrained enhancer changes little."""
        nn.init.normal_(self.mask.weight, std=0.01)
        assert self.mask.bias is not None
        nn.init.constant_(self.mask.bias, 2.0)

    def forward(self, magnitude_BFT: Tensor) -> Tensor:
        """Linear magnitudes (B, F, T) to a mask (B, F, T)."""
        return torch.sigmoid(self.logits(magnitude_BFT))

    def logits(self, magnitude_BFT: Tensor) -> Tensor:
        """The mask before the sigmoid, (B, F, T)."""
        x = magnitude_BFT[:, None].contiguous(memory_format=torch.channels_last)
        skips = []
        for i, block in enumerate(self.down):
            x = F.leaky_relu(block(x), 0.1)
            skips.append(x)
            x = F.max_pool2d(x, self._factor(i))
        for i, block in enumerate(self.up):
            if i > 0:
                x = torch.cat([x, skips[-i]], dim=1)
            x = torch.relu(block(x))
            if i < len(self.down):
                height, width = skips[-1 - i].shape[-2:]
                x = F.interpolate(x, (height, width), mode="bilinear", align_corners=True)
        return self.mask(x)[:, 0]

    def _factor(self, i: int) -> tuple[int, int]:
        return (2, 1) if i == len(self.down) - 1 else (2, 2)
