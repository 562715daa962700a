"""Count multiply-accumulates (MACs) while a model runs."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from avsep.models.cpu import library_layers


def counted_macs(work: Callable[[], object]) -> int:
    """MACs of `work`: convolutions, matrix products and attention.

    This is half of what torch's `FlopCounterMode` counts. FFTs, normalisations, activations and
    interpolation are not counted. Layers run as the library's, not in the overlapping stretches of
    a CPU, so that the count is the same on all devices. Attention runs as plain matrix products,
    since torch cannot count the operations of the fused CPU kernel.
    """
    with (
        FlopCounterMode(display=False) as counter,
        library_layers(),
        sdpa_kernel(SDPBackend.MATH),
        torch.no_grad(),
    ):
        work()
    return int(counter.get_total_flops()) // 2
