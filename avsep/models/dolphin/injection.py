"""InjectionMultiSum: inject a sequence of another rate into a local one by a gate and a shift."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from avsep.models.cpu import worthwhile
from avsep.models.dolphin.config import HeatMode
from avsep.models.dolphin.heat import HeatDiffusion
from avsep.models.dolphin.sequence import resize_nearest
from avsep.models.dolphin.tiles import by_tiles
from avsep.models.gpu import block_ops
from avsep.models.gpu import ops as gpu


class NormedHeat(nn.Module):
    """Heat diffusion followed by a norm."""

    def __init__(self, heat: HeatDiffusion, norm: nn.Module) -> None:
        super().__init__()
        self.heat = heat
        self.norm = norm

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, C) to the same shape."""
        return self.norm(self.heat(x))


class InjectionMultiSum(nn.Module):
    """local(l) * resize(sigmoid(gate(g))) + resize(shift(g)), resized by nearest earlier frame.

    Args:
        channels: channels of both inputs.
        make_norm: makes the norm after each heat layer, from the number of channels.
        mode: how heat is computed, see `blur`.
        carry_unused: see `HeatDiffusion`.
    """

    def __init__(
        self,
        channels: int,
        make_norm: Callable[[int], nn.Module],
        mode: HeatMode,
        *,
        carry_unused: bool,
    ) -> None:
        super().__init__()
        self.local, self.shift, self.gate = (
            NormedHeat(
                HeatDiffusion(channels, mode, carry_unused=carry_unused), make_norm(channels)
            )
            for _ in range(3)
        )

    def forward(self, local: Tensor, outer: Tensor) -> Tensor:
        """local (B, T, C) and outer (B, T', C) to (B, T, C)."""
        shift, gate, local = self.shift(outer), self.gate(outer), self.local(local)
        # Under autocast the norms may leave the parts in another format than the inputs.
        if all(map(gpu.usable, (local, shift, gate))) and not torch.is_grad_enabled():
            return block_ops.inject(local.contiguous(), shift.contiguous(), gate.contiguous())
        length = local.shape[1]
        if worthwhile(local) and length % shift.shape[1] == 0:
            return by_tiles(_inject, 0, local, shift, torch.sigmoid(gate))
        shift = resize_nearest(shift, length)
        gate = resize_nearest(torch.sigmoid(gate), length)
        return torch.addcmul(shift, local, gate)


def _inject(local: Tensor, shift: Tensor, gate: Tensor) -> Tensor:
    """gate * local + shift, with gate and shift of a rate that divides that of the tile."""
    parts = local.unflatten(1, (shift.shape[1], -1))
    return torch.addcmul(shift.unsqueeze(2), parts, gate.unsqueeze(2)).flatten(1, 2)
