"""DP-LipCoder's decoder: features back to the lip video, mirroring the encoder.

The released code has no decoder. This one follows the order in the paper's figure: attention and
residual units, upsampling, a last 3-D convolution.
"""

from __future__ import annotations

from einops import rearrange
from torch import Tensor, nn

from avsep.models.dolphin.lip_config import LipEncoderConfig
from avsep.models.dolphin.lip_encoder import make_layer
from avsep.models.dolphin.lip_layers import UpsampleSpace, VideoConv

_LAST_KERNEL = (3, 3, 3)


class LipDecoder(nn.Module):
    """Features (B, F, D) to the video (B, 1, F, h, w) of `LipEncoder.preprocess`."""

    def __init__(self, config: LipEncoderConfig) -> None:
        super().__init__()
        # Channels and map size before each layer of the encoder.
        channels, size = config.first_channels, config.image_size // config.shrink
        before: list[tuple[str, int, int]] = []
        for kind in config.layers:
            before.append((kind, channels, size))
            if kind == "compress_space":
                channels, size = min(2 * channels, config.max_channels), (size + 1) // 2
        self.channels, self.size = channels, size
        layers: list[nn.Module] = []
        self.sizes: list[int] = []
        for kind, source, source_size in reversed(before):
            if kind == "compress_space":
                layers.append(UpsampleSpace(channels, source))
                channels = source
            else:
                layers.append(make_layer(kind, channels, channels, config))
            self.sizes.append(source_size)
        self.layers = nn.ModuleList(layers)
        self.last = VideoConv(channels, 1, _LAST_KERNEL)

    def forward(self, features: Tensor) -> Tensor:
        """(B, F, D) to (B, 1, F, H, W)."""
        x = rearrange(
            features, "b f (c h w) -> b f h w c", c=self.channels, h=self.size
        ).contiguous()
        for layer, size in zip(self.layers, self.sizes, strict=True):
            x = layer(x)
            if x.shape[2] > size:  # the encoder rounded up an odd size
                x = x[:, :, :size, :size].contiguous()
        return rearrange(self.last(x), "b f h w c -> b c f h w")
