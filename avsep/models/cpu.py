"""Forward passes on a CPU without gradients: when they take ways of their own, and linear maps."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from avsep.models.full_precision import autocast_dtype
from avsep.models.gpu import ops as gpu

# PyTorch multiplies float32 matrices by MKL, which uses half of the vector units on CPUs that are
# not Intel's; oneDNN uses them all: 230 instead of 105 GFLOP/s on one core of an AMD EPYC.
LINEAR_BY_ONEDNN = torch.backends.mkldnn.is_available() and hasattr(
    torch.ops.mkldnn, "_linear_pointwise"
)

_own_ways = ContextVar("own_ways", default=True)


@contextmanager
def library_layers() -> Iterator[None]:
    """Compute as on other devices, e.g. to count operations that are the same everywhere."""
    token = _own_ways.set(False)
    try:
        yield
    finally:
        _own_ways.reset(token)


def for_any_length() -> bool:
    """Whether operations are being recorded, by `torch.compile` or an exporter.

    The record must serve inputs of any length.
    """
    return torch.compiler.is_compiling() or torch.jit.is_tracing()


def worthwhile(x: Tensor) -> bool:
    """Whether `x` is on a CPU, and neither gradients nor autocast nor a record are wanted."""
    return (
        x.is_cpu
        and not for_any_length()
        and _own_ways.get()
        and not torch.is_grad_enabled()
        and autocast_dtype(x) is None
        and not gpu.usable(x)
    )


def linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """`F.linear`, faster where `worthwhile`."""
    if LINEAR_BY_ONEDNN and worthwhile(x) and x.dtype == weight.dtype == torch.float32:
        return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
    return F.linear(x, weight, bias)


class Linear(nn.Linear):
    """The library's layer, computed by `linear`."""

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        return linear(x, self.weight, self.bias)
