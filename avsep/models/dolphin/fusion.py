"""Audio-visual fusion: the video gates the sound twice, directly and by attention over time."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from avsep.models.dolphin.sequence import GlobalNorm, start_values, stretch


class Embed(nn.Module):
    """A linear map, norm over channels and time, PReLU."""

    def __init__(self, source: int, target: int) -> None:
        super().__init__()
        self.linear = nn.Linear(source, target)
        self.norm = GlobalNorm(target, eps=1e-8)
        self.act = nn.PReLU()

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, source) to (B, T, target)."""
        return self.act(self.norm(self.linear(x)))


class ChannelEmbed(nn.Module):
    """As `Embed`, but each output channel sees one input channel (a grouped 1x1 convolution)."""

    def __init__(self, source: int, target: int) -> None:
        super().__init__()
        self.copies = target // source
        weight, self.bias = start_values(nn.Conv1d(source, target, 1, groups=source))
        self.weight = nn.Parameter(weight.detach().flatten())
        self.norm = GlobalNorm(target, eps=1e-8)
        self.act = nn.PReLU()

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, source) to (B, T, target), a multiple of source."""
        if self.copies > 1:
            x = x.repeat_interleave(self.copies, dim=-1)
        return self.act(self.norm(torch.addcmul(self.bias, x, self.weight)))


class Fusion(nn.Module):
    """Fuse sound (B, T, channels) and video (B, F, video_channels) to (B, T, channels)."""

    def __init__(self, channels: int, video_channels: int) -> None:
        super().__init__()
        self.audio_key = ChannelEmbed(channels, channels)
        self.audio_value = ChannelEmbed(channels, channels)
        self.video_key = Embed(video_channels, channels)
        self.video_attention = ChannelEmbed(video_channels, channels)

    def forward(self, audio: Tensor, video: Tensor) -> Tensor:
        """(B, T, C) and (B, F, V) to (B, T, C)."""
        length = audio.shape[1]
        key = self.audio_key(audio) * stretch(self.video_key(video), length)
        weight = torch.softmax(self.video_attention(video), dim=1)  # over the frames
        return torch.addcmul(key, stretch(weight, length), self.audio_value(audio))
