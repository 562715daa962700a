"""Convolutions whose weights lie as cuDNN reads them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Self

import torch
from torch import Tensor, nn


class Conv2d(nn.Conv2d):
    """PyTorch's own, for channels-last input.

    On a GPU the weight lies channels last too; otherwise each forward and backward pass would copy
    it. On a CPU it lies as everywhere else.
    """

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        super()._apply(fn, recurse)
        layout = torch.contiguous_format if self.weight.is_cpu else torch.channels_last
        self.weight.data = self.weight.data.contiguous(memory_format=layout)
        return self
