"""The audio-visual spectro-temporal transformer: stacks of unmasked self-attention.

Shapes: B items, T spectral frames, D features per frame, F bins of the mask, L sequence length.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from avsep.models.cpu import Linear
from avsep.models.dropout import attend, dropout
from avsep.models.vovit.config import FusionConfig


def position_table(num_positions: int, width: int) -> Tensor:
    """Sines and cosines (num_positions + 1, width); row 0 is zero and never used."""
    position = torch.arange(num_positions + 1, dtype=torch.float64)[:, None]
    column = torch.arange(width)
    exponent = 2 * (column // 2).to(torch.float64) / width
    angle = position / torch.pow(torch.tensor(10_000.0, dtype=torch.float64), exponent)
    table = torch.where(column % 2 == 0, torch.sin(angle), torch.cos(angle))
    table[0] = 0
    return table.float()


class Positions(nn.Module):
    """A frozen table of positions, counted from 1."""

    def __init__(self, num_positions: int, width: int) -> None:
        super().__init__()
        # A parameter, not a buffer, because the published parameter counts include it.
        self.weight = nn.Parameter(position_table(num_positions, width), requires_grad=False)

    def forward(self) -> Tensor:
        """(positions, width)."""
        return self.weight[1:]


class SelfAttentionLayer(nn.Module):
    """Self-attention and feed-forward, each with residual and then normalised (post-norm)."""

    def __init__(self, width: int, heads: int, feedforward: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.dropout = dropout
        self.qkv = Linear(width, 3 * width)
        self.out = Linear(width, width)
        self.expand = Linear(width, feedforward)
        self.contract = Linear(feedforward, width)
        self.norm_attention = nn.LayerNorm(width)
        self.norm_feedforward = nn.LayerNorm(width)
        nn.init.xavier_uniform_(self.qkv.weight)
        nn.init.zeros_(self.qkv.bias)
        nn.init.zeros_(self.out.bias)

    def forward(self, x_BLD: Tensor) -> Tensor:
        """(B, L, D) to (B, L, D)."""
        x = self.norm_attention(x_BLD + self._drop(self._attend(x_BLD)))
        hidden = self._drop(F.gelu(self.expand(x)))
        return self.norm_feedforward(x + self._drop(self.contract(hidden)))

    def _attend(self, x_BLD: Tensor) -> Tensor:
        q, k, v = rearrange(self.qkv(x_BLD), "b l (n h d) -> n b h l d", n=3, h=self.heads)
        attended = attend(q, k, v, None, self.dropout if self.training else 0.0)
        return self.out(rearrange(attended, "b h l d -> b l (h d)"))

    def _drop(self, x: Tensor) -> Tensor:
        return dropout(x, self.dropout, self.training)


class Stack(nn.Module):
    """Self-attention layers and a final normalisation."""

    def __init__(self, width: int, num_layers: int, config: FusionConfig) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            SelfAttentionLayer(width, config.heads, config.feedforward, config.dropout)
            for _ in range(num_layers)
        )
        self.norm = nn.LayerNorm(width)

    def forward(self, x_BLD: Tensor) -> Tensor:
        """(B, L, D) to (B, L, D)."""
        for layer in self.layers:
            x_BLD = layer(x_BLD)
        return self.norm(x_BLD)


class FusionTransformer(nn.Module):
    """Motion and audio features to the logits of a complex mask."""

    def __init__(
        self, in_features: int, num_frames: int, num_bins: int, config: FusionConfig
    ) -> None:
        super().__init__()
        self.num_bins = num_bins
        self.adapt = Linear(in_features, config.width)
        self.temporal_positions = Positions(num_frames, config.width)
        self.temporal = Stack(config.width, config.temporal_layers, config)
        self.spectral_positions = Positions(config.width, num_frames)
        self.spectral = Stack(num_frames, config.spectral_layers, config)
        self.decoder = Stack(config.width, config.decoder_layers, config)
        self.mask_hidden = Linear(config.width, config.mask_hidden)
        self.mask_out = Linear(config.mask_hidden, 2 * num_bins)
        self._start_at_mixture()

    def _start_at_mixture(self) -> None:
        """Initialise the mask to 1/2, so that an untrained model returns the mixture."""
        nn.init.normal_(self.mask_out.weight, std=0.1 / math.sqrt(self.mask_out.in_features))
        with torch.no_grad():
            self.mask_out.bias[: self.num_bins] = 0.5
            self.mask_out.bias[self.num_bins :] = 0.0

    def forward(self, visual_BTC: Tensor, audio_BTC: Tensor) -> Tensor:
        """Mask logits.

        Args:
            visual_BTC: motion features.
            audio_BTC: audio features.

        Returns:
            (B, 2, F, T), real and imaginary part.
        """
        z_BTD = F.leaky_relu(self.adapt(torch.cat([visual_BTC, audio_BTC], dim=-1)), 0.1)
        # Both encoders see the temporal positions: the official code adds them in place before
        # the spectral encoder reads the same tensor, and its weights were trained that way.
        z_BTD = z_BTD + self.temporal_positions()
        temporal_BTD = self.temporal(z_BTD)
        spectral_BDT = self.spectral(z_BTD.transpose(1, 2) + self.spectral_positions())
        decoded_BTD = self.decoder(temporal_BTD + spectral_BDT.transpose(1, 2))
        mask_BTM = self.mask_out(F.leaky_relu(self.mask_hidden(decoded_BTD), 0.5))
        return rearrange(mask_BTM, "b t (n f) -> b n f t", n=2)
