"""Count multiply-accumulates (MACs) while a model runs."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from avsep.models.cpu import LINEAR_BY_ONEDNN


def _linear_flops(x: Sequence[int], weight: Sequence[int], *_: Any, **__: Any) -> int:
    return 2 * math.prod(x) * weight[0]


# What the library's counter does not know; see `avsep.models.cpu`.
_MORE = {torch.ops.mkldnn._linear_pointwise: _linear_flops} if LINEAR_BY_ONEDNN else {}


def counted_macs(work: Callable[[], object]) -> int:
    """MACs of `work`: convolutions, matrix products and attention.

    This is half of what torch's `FlopCounterMode` counts. FFTs, normalisations, activations and
    interpolation are not counted. Attention runs as plain matrix products, since torch cannot
    count the operations of the fused CPU kernel.
    """
    with (
        FlopCounterMode(display=False, custom_mapping=_MORE) as counter,
        sdpa_kernel(SDPBackend.MATH),
        torch.no_grad(),
    ):
        work()
    return int(counter.get_total_flops()) // 2
