"""Audio-visual fusion: the video gates the audio directly and by attention over time.

Shapes: B items, T audio frames, F video frames, C audio channels, V video channels.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from avsep.models.cpu import Linear
from avsep.models.dolphin.sequence import GlobalNorm, initial_parameters, norm_prelu, resize_nearest


class Embed(nn.Module):
    """A linear map, a norm over channels and time, PReLU."""

    def __init__(self, source: int, target: int) -> None:
        super().__init__()
        self.linear = Linear(source, target)
        self.norm = GlobalNorm(target, eps=1e-8)
        self.act = nn.PReLU()

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, source) to (B, T, target)."""
        return norm_prelu(self.linear(x), self.norm, self.act)


class ChannelEmbed(nn.Module):
    """Like `Embed`, but each output channel sees one input channel (a grouped 1x1 convolution)."""

    def __init__(self, source: int, target: int) -> None:
        super().__init__()
        self.copies = target // source
        weight, self.bias = initial_parameters(nn.Conv1d(source, target, 1, groups=source))
        self.weight = nn.Parameter(weight.detach().flatten())
        self.norm = GlobalNorm(target, eps=1e-8)
        self.act = nn.PReLU()

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, source) to (B, T, target); target is a multiple of source."""
        if self.copies > 1:
            x = x.repeat_interleave(self.copies, dim=-1)
        return norm_prelu(torch.addcmul(self.bias, x, self.weight), self.norm, self.act)


class Fusion(nn.Module):
    """Fuse audio and video features at the audio rate."""

    def __init__(self, channels: int, video_channels: int) -> None:
        super().__init__()
        self.audio_key = ChannelEmbed(channels, channels)
        self.audio_value = ChannelEmbed(channels, channels)
        self.video_key = Embed(video_channels, channels)
        self.video_attention = ChannelEmbed(video_channels, channels)

    def forward(self, audio: Tensor, video: Tensor) -> Tensor:
        """(B, T, C) and (B, F, V) to (B, T, C)."""
        length = audio.shape[1]
        key = self.audio_key(audio) * resize_nearest(self.video_key(video), length)
        weight = torch.softmax(self.video_attention(video), dim=1)  # over the video frames
        return torch.addcmul(key, resize_nearest(weight, length), self.audio_value(audio))
