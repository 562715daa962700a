"""The exponential moving average of a model's weights, which is validated and exported."""

from __future__ import annotations

import copy
from typing import Self

import torch
from torch import Tensor, nn


class WeightAverage(nn.Module):
    """A copy of a model whose weights follow it slowly: `w <- d w + (1 - d) model`.

    The decay rises with the steps, `min(decay, (1 + step) / (10 + step))`, so that the random
    start soon has no effect. Buffers (batch norm statistics, codebooks) are copied. As a module of
    the task it is part of every checkpoint. It stays in eval mode.

    Attributes:
        module: the averaged copy.
        decay: the final decay; 0 makes it a plain copy.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        super().__init__()
        self.decay = decay
        self.module = copy.deepcopy(model).requires_grad_(False).eval()

    def train(self, mode: bool = True) -> Self:
        """Stay in eval mode, whatever mode the task is in."""
        return super().train(False)

    @torch.no_grad()
    def update(self, model: nn.Module, step: int) -> None:
        """Update the average with the weights after optimiser step `step` (the first is 0)."""
        decay = min(self.decay, (1 + step) / (10 + step))
        moving, fixed = _split(self.module, model)
        if moving:
            torch._foreach_lerp_([a for a, _ in moving], [b for _, b in moving], 1.0 - decay)
        if fixed:
            torch._foreach_copy_([a for a, _ in fixed], [b for _, b in fixed])

    @torch.no_grad()
    def restore_buffers(self, model: nn.Module) -> None:
        """Give a model the buffers of its last good step, after a forward pass went wrong."""
        for ours, theirs in zip(self.module.buffers(), model.buffers(), strict=True):
            theirs.copy_(ours)


def _split(
    average: nn.Module, model: nn.Module
) -> tuple[list[tuple[Tensor, Tensor]], list[tuple[Tensor, Tensor]]]:
    """Pairs of (average, model) tensors: those to be averaged, and those to be copied."""
    moving: list[tuple[Tensor, Tensor]] = []
    fixed: list[tuple[Tensor, Tensor]] = []
    for ours, theirs in zip(average.parameters(), model.parameters(), strict=True):
        (moving if theirs.requires_grad else fixed).append((ours, theirs))
    fixed += zip(average.buffers(), model.buffers(), strict=True)
    return moving, fixed
