"""Inject: bring a sequence of another rate into a local one by a gate and a shift."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from avsep.models.dolphin.config import HeatMode
from avsep.models.dolphin.heat import HeatDiffusion
from avsep.models.dolphin.sequence import stretch


class NormedHeat(nn.Module):
    """Heat diffusion followed by a norm."""

    def __init__(
        self,
        channels: int,
        norm: Callable[[int], nn.Module],
        mode: HeatMode,
        *,
        carry_unused: bool,
    ) -> None:
        super().__init__()
        self.heat = HeatDiffusion(channels, mode, carry_unused=carry_unused)
        self.norm = norm(channels)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, C) to the same shape."""
        return self.norm(self.heat(x))


class Inject(nn.Module):
    """local(l) * up(sigmoid(gate(g))) + up(shift(g)), up by the nearest earlier vector.

    Args:
        channels: of both inputs.
        norm: makes the norm behind each heat layer, from the number of channels.
        mode: how heat is computed, see `blur`.
        carry_unused: see `HeatDiffusion`.
    """

    def __init__(
        self,
        channels: int,
        norm: Callable[[int], nn.Module],
        mode: HeatMode,
        *,
        carry_unused: bool,
    ) -> None:
        super().__init__()
        self.local = NormedHeat(channels, norm, mode, carry_unused=carry_unused)
        self.shift = NormedHeat(channels, norm, mode, carry_unused=carry_unused)
        self.gate = NormedHeat(channels, norm, mode, carry_unused=carry_unused)

    def forward(self, local: Tensor, outer: Tensor) -> Tensor:
        """local (B, T, C) and outer (B, T', C) to (B, T, C)."""
        length = local.shape[1]
        shift = stretch(self.shift(outer), length)
        gate = stretch(torch.sigmoid(self.gate(outer)), length)
        return torch.addcmul(shift, self.local(local), gate)
