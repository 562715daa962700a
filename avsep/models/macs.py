"""Multiply-accumulates of a piece of work, counted as it runs."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode


def counted_macs(work: Callable[[], object]) -> int:
    """Half of torch's count of operations: convolutions, matrix products and attention.

    FFTs, normalisations, activations and interpolation are not counted. Attention is run as the
    plain products that it is: torch knows no count for the CPU's fused kernel.
    """
    with (
        FlopCounterMode(display=False) as counter,
        sdpa_kernel(SDPBackend.MATH),
        torch.no_grad(),
    ):
        work()
    return int(counter.get_total_flops()) // 2
