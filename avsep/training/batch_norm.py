"""Batch norm whose statistics in training are those of all ranks, on any device.

PyTorch's `SyncBatchNorm` needs GPUs, and replaces classes that change what they are given.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn


class _SumOverRanks(torch.autograd.Function):
    """The sum of a tensor over all ranks; its gradient is the sum of theirs."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        x = x.contiguous().clone()
        dist.all_reduce(x)
        return x

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        gradient = gradient.contiguous().clone()
        dist.all_reduce(gradient)
        return gradient


class _OverRanks(nn.modules.batchnorm._BatchNorm):
    """In training with several ranks, normalises by the statistics of all of them together.

    Every rank must have equally many values. With one rank, and in eval mode, it is PyTorch's own.
    """

    def forward(self, input: Tensor) -> Tensor:
        if not self.training or ranks_together() == 1:
            return super().forward(input)
        self._check_input_dim(input)
        x = input if input.dtype == torch.float64 else input.float()
        over = [dim for dim in range(x.dim()) if dim != 1]
        shape = [1, -1, *[1] * (x.dim() - 2)]
        mean, variance, count = _statistics(x, over)
        self._follow(mean.detach(), variance.detach(), count)
        scale = torch.rsqrt(variance + self.eps)
        if self.weight is not None:
            scale = scale * self.weight
        y = (x - mean.view(shape)) * scale.view(shape)
        if self.bias is not None:
            y = y + self.bias.view(shape)
        return y.to(input.dtype)

    @torch.no_grad()
    def _follow(self, mean: Tensor, variance: Tensor, count: int) -> None:
        """Move the running statistics; that of the variance is unbiased, as in PyTorch."""
        if self.running_mean is None or self.running_var is None:
            return
        assert self.num_batches_tracked is not None
        self.num_batches_tracked.add_(1)
        weight = self.momentum
        if weight is None:
            weight = 1.0 / float(self.num_batches_tracked)
        self.running_mean.lerp_(mean.to(self.running_mean), weight)
        unbiased = variance * (count / max(1, count - 1))
        self.running_var.lerp_(unbiased.to(self.running_var), weight)


class BatchNorm1d(_OverRanks, nn.BatchNorm1d):
    """`nn.BatchNorm1d` over all ranks."""


class BatchNorm2d(_OverRanks, nn.BatchNorm2d):
    """`nn.BatchNorm2d` over all ranks."""


class BatchNorm3d(_OverRanks, nn.BatchNorm3d):
    """`nn.BatchNorm3d` over all ranks."""


_CLASSES: dict[type[nn.Module], type[_OverRanks]] = {
    nn.BatchNorm1d: BatchNorm1d,
    nn.BatchNorm2d: BatchNorm2d,
    nn.BatchNorm3d: BatchNorm3d,
}


def over_ranks(model: nn.Module) -> None:
    """Let PyTorch's batch norms in a model use the statistics of all ranks.

    Subclasses of them must be made from the classes here.
    """
    for module in model.modules():
        if type(module) in _CLASSES:
            module.__class__ = _CLASSES[type(module)]


def ranks_together() -> int:
    """The number of ranks that train together with this process."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def _statistics(x: Tensor, over: list[int]) -> tuple[Tensor, Tensor, int]:
    """Mean and biased variance (C,) over all ranks, and the number of values behind each."""
    ranks = ranks_together()
    variance, mean = torch.var_mean(x, dim=over, correction=0)
    # One sum of rows that are zero elsewhere: every rank gets the row of each.
    rows = torch.zeros(ranks, 2, len(mean), dtype=x.dtype, device=x.device)
    own = torch.zeros(ranks, 1, 1, dtype=x.dtype, device=x.device)
    own[dist.get_rank()] = 1
    rows = _SumOverRanks.apply(rows + own * torch.stack([mean, variance]))
    means, variances = rows[:, 0], rows[:, 1]
    mean = means.mean(0)
    variance = (variances + (means - mean).square()).mean(0)
    return mean, variance, ranks * x.numel() // len(mean)
