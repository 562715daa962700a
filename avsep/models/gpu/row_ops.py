"""Operations on the rows of (R, C) matrices, for attention layers, one kernel each; see `ops`.

Dropout draws its mask in the kernel, from a seed on the device, the number of its place and the
index of the element. The backward pass draws it again, so that no mask is kept.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from avsep.models.gpu.ops import BLOCK, _parts, check_inputs, power


def _kernels(*inputs: Tensor | None) -> Any:
    check_inputs(*inputs)
    from avsep.models.gpu import row_kernels

    return row_kernels


def norm_parts(rows: int) -> int:
    """The number of part sums of `add_norm_grad`."""
    return _parts(rows, 8)[1]


@torch.library.custom_op("avsep::add_norm", mutates_args=("total", "y"))
def add_norm(
    x: Tensor, branch: Tensor | None, weight: Tensor, bias: Tensor, weight2: Tensor | None,
    bias2: Tensor | None, total: Tensor | None, y: Tensor, eps: float, seed: Tensor | None,
    site: int, p: float,
) -> None:  # fmt: skip
    """Write norm(x + dropout(branch)) to y, (R, C), and the sum to `total`; all contiguous.

    With a second weight and bias, y is normed once more. Without a branch, nothing is added.
    """
    rows, channels = x.shape
    launch = _kernels(x, branch, weight, bias, weight2, bias2, total, y).add_norm
    launch[(-(-rows // 4),)](
        x, x if branch is None else branch, weight, bias, weight if weight2 is None else weight2,
        bias if bias2 is None else bias2, x if seed is None else seed, site,
        y if total is None else total, y, rows, channels, eps, p, ADD=branch is not None,
        DROP=p > 0, KEEP=total is not None, TWICE=weight2 is not None, BR=4, BC=power(channels),
    )  # fmt: skip


@add_norm.register_fake
def _(x, branch, weight, bias, weight2, bias2, total, y, eps, seed, site, p):  # type: ignore[no-untyped-def]
    return None


@torch.library.custom_op("avsep::add_norm_grad", mutates_args=("branch_grad", "parts"))
def add_norm_grad(
    grad: Tensor, total: Tensor, weight: Tensor, branch_grad: Tensor | None, parts: Tensor,
    eps: float, seed: Tensor | None, site: int, p: float,
) -> Tensor:  # fmt: skip
    """The gradient of x; that of the branch, and part sums (P, 2 C) of those of weight and bias."""
    rows, channels = total.shape
    chunk, count = _parts(rows, 8)
    of_x = torch.empty_like(total)
    _kernels(grad, total, weight, branch_grad, parts).add_norm_grad[(count,)](
        grad, total, weight, grad if seed is None else seed, site, of_x,
        of_x if branch_grad is None else branch_grad, parts, rows, chunk, channels, eps, p,
        ADD=branch_grad is not None, DROP=p > 0, BR=4, BC=power(channels),
    )  # fmt: skip
    return of_x


@add_norm_grad.register_fake
def _(grad, total, weight, branch_grad, parts, eps, seed, site, p):  # type: ignore[no-untyped-def]
    return torch.empty_like(total)


@torch.library.custom_op("avsep::gelu_drop", mutates_args=("y",))
def gelu_drop(x: Tensor, y: Tensor, seed: Tensor | None, site: int, p: float) -> None:
    """Write dropout(gelu(x)) to y; both contiguous."""
    _kernels(x, y).gelu_drop[(-(-x.numel() // BLOCK),)](
        x, x if seed is None else seed, site, y, x.numel(), p, DROP=p > 0, BLOCK=BLOCK
    )


@gelu_drop.register_fake
def _(x, y, seed, site, p):  # type: ignore[no-untyped-def]
    return None


@torch.library.custom_op("avsep::gelu_drop_grad", mutates_args=("out",))
def gelu_drop_grad(
    x: Tensor, grad: Tensor, out: Tensor, seed: Tensor | None, site: int, p: float
) -> None:
    """Write the gradient of x in `gelu_drop` to `out`; all contiguous."""
    _kernels(x, grad, out).gelu_drop_grad[(-(-x.numel() // BLOCK),)](
        x, grad, x if seed is None else seed, site, out, x.numel(), p, DROP=p > 0, BLOCK=BLOCK
    )


@gelu_drop_grad.register_fake
def _(x, grad, out, seed, site, p):  # type: ignore[no-untyped-def]
    return None


@torch.library.custom_op("avsep::linear_act", mutates_args=())
def linear_act(x: Tensor, weight: Tensor, bias: Tensor, slope: float | None) -> Tensor:
    """GELU, or a leaky ReLU with a slope, of a linear map of the contiguous rows of x."""
    rows, width = x.numel() // x.shape[-1], x.shape[-1]
    y = x.new_empty(*x.shape[:-1], len(bias))
    grid = (-(-rows // 32), -(-len(bias) // 32))
    _kernels(x, weight, bias).linear_act[grid](
        x, weight, bias, y, rows, width, len(bias), slope or 0.0, GELU=slope is None,
        PRECISION="tf32" if torch.backends.cuda.matmul.allow_tf32 else "ieee",
        BM=32, BN=32, BK=32,
    )  # fmt: skip
    return y


@linear_act.register_fake
def _(x, weight, bias, slope):  # type: ignore[no-untyped-def]
    return x.new_empty(*x.shape[:-1], len(bias))
