"""DP-LipCoder's encoder: lip video to one feature vector per frame, by two paths.

Shapes: B items, F frames, H height, W width, D features (`LipEncoderConfig.feature_size`).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from avsep.models.dolphin.lip_attention import FullAttention, LinearAttention, SpatialBlock
from avsep.models.dolphin.lip_config import LipEncoderConfig
from avsep.models.dolphin.lip_layers import DownsampleSpace, ResidualUnit, VideoConv, convolve_video
from avsep.models.dolphin.quantiser import Quantised, Quantiser

MOTION_GAIN = 3.0  # motion varies about a third as much as the picture


def make_layer(kind: str, channels: int, target: int, config: LipEncoderConfig) -> nn.Module:
    """One layer of a path, see `LAYER_KINDS`; only `compress_space` uses `target`."""
    match kind:
        case "residual":
            return ResidualUnit(channels, config.unit_kernel)
        case "consecutive_residual":
            units = (ResidualUnit(channels, config.unit_kernel) for _ in range(2))
            return nn.Sequential(*units)
        case "compress_space":
            return DownsampleSpace(channels, target)
        case "linear_attend_space":
            attention = LinearAttention(channels, config.linear_heads, config.linear_head_size)
            return SpatialBlock(attention, channels)
        case _:
            return SpatialBlock(FullAttention(channels, config.heads, config.head_size), channels)


class LipPath(nn.Module):
    """One of the two encoders: a first convolution, the layers and a norm."""

    def __init__(self, config: LipEncoderConfig) -> None:
        super().__init__()
        channels = config.first_channels
        self.first = VideoConv(1, channels, config.first_kernel)
        layers: list[nn.Module] = []
        for kind in config.layers:
            target = min(2 * channels, config.max_channels)
            layers.append(make_layer(kind, channels, target, config))
            if kind == "compress_space":
                channels = target
        self.layers = nn.ModuleList(layers)
        self.norm = nn.LayerNorm(channels)

    def forward(self, x: Tensor) -> Tensor:
        """Output of the first convolution (B, F, H, W, C) to (B, F, h, w, channels)."""
        for layer in self.layers:
            x = layer(x)
        return self.norm(x)


@dataclass(frozen=True, kw_only=True, eq=False)
class LipFeatures:
    """Features of both paths.

    Attributes:
        recon: (B, F, D), features of the reconstruction path.
        quantised: quantised features of the semantic path.
    """

    recon: Tensor
    quantised: Quantised

    @property
    def total(self) -> Tensor:
        """(B, F, D), the input of the separator and of the video decoder."""
        return self.recon + self.quantised.features


class LipEncoder(nn.Module):
    """Both paths over the same video; the semantic path is quantised."""

    def __init__(self, config: LipEncoderConfig) -> None:
        super().__init__()
        self.config = config
        self.semantic = LipPath(config)
        self.recon = LipPath(config)
        self.quantiser = Quantiser(config.feature_size, config.quantiser)

    def preprocess(self, lips: Tensor) -> Tensor:
        """The input of both paths, (B, 1, F, h, w): mean subtracted and shrunk if configured.

        Args:
            lips: (B, 1, F, H, W) float32, normalised.
        """
        if self.config.motion_only:
            lips = MOTION_GAIN * (lips - lips.mean(2, keepdim=True))
        if self.config.shrink > 1:
            batch = lips.shape[0]
            lips = F.avg_pool2d(lips.flatten(0, 2)[:, None], self.config.shrink)
            lips = rearrange(lips, "(b f) 1 h w -> b 1 f h w", b=batch)
        return lips

    def encode_paths(self, lips: Tensor, *, noise: Tensor | None = None) -> LipFeatures:
        """Encode a lip video; returns the features of both paths separately.

        Args:
            lips: (B, 1, F, H, W) float32, normalised.
            noise: see `Quantiser.forward`.
        """
        lips = self.preprocess(lips)
        # Both paths start with a convolution of the same video: run as one.
        first = self.semantic.first, self.recon.first
        weight = torch.cat([conv.weight for conv in first])
        bias = torch.cat([conv.bias for conv in first])
        video = rearrange(lips, "b c f h w -> b f h w c")
        semantic, recon = convolve_video(video, weight, bias).chunk(2, dim=-1)
        quantised = self.quantiser(flatten_map(self.semantic(semantic.contiguous())), noise=noise)
        recon = flatten_map(self.recon(recon.contiguous()))
        return LipFeatures(recon=recon, quantised=quantised)

    def forward(self, lips: Tensor) -> Tensor:
        """Lips (B, 1, F, H, W) to features (B, F, D)."""
        return self.encode_paths(lips).total


def flatten_map(x: Tensor) -> Tensor:
    """(B, F, h, w, C) to (B, F, C h w), channel-major as in the released model."""
    return rearrange(x, "b f h w c -> b f (c h w)")
