"""Count what a GPU would be told to do, without a GPU: kernel launches, bytes moved, host waits.

Models take their GPU branches on every device but the CPU. So a model on meta tensors, which have
shapes and no values, runs the operations that it would run on a GPU, and this mode sees each of
them below autograd.

The rule:

- A view or an allocation is not a launch. Any other operation is one launch, except where
  `LAUNCHES` or a rule below knows that PyTorch's CUDA code starts more kernels.
- An operation on a list of tensors starts one launch per full batch of pointers (`FOREACH_BATCH`).
- A convolution by cuDNN adds its bias in a second launch. It is channels-last if its input or its
  weight is, otherwise contiguous; what does not lie so is copied first, and all results lie so. A
  depthwise one is one kernel, with the bias in it, but takes only contiguous input.
- Attention is the memory-efficient kernel, PyTorch's choice for float32 with or without a bias.
- Operations of the library `avsep` are one Triton kernel each.
- Bytes are those of all tensors that a launch reads or writes, each once; an expanded tensor counts
  with what it holds. Caches are not modelled.
- A host wait is a value that the host must know to go on: `.item()`, `nonzero`, a copy to the CPU.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

# Operations that only allocate or rename memory.
FREE = {
    "empty", "empty_like", "empty_strided", "new_empty", "new_empty_strided", "detach", "alias",
    "lift_fresh", "_reshape_alias", "set_", "resize_", "prims_device_put", "_unsafe_view",
    "_assert_async", "view_as_real", "view_as_complex", "real", "imag",
}  # fmt: skip
# Operations whose CUDA code starts more than one kernel.
LAUNCHES = {
    "constant_pad_nd": 2,  # fill, copy
    "native_layer_norm_backward": 2,  # the input's gradient, the parameters' gradients
    "native_group_norm": 2,
    "slice_backward": 2,  # zeros, copy
    "select_backward": 2,
    "_fft_r2c": 2,
    "_fft_c2r": 2,
    "_cdist_forward": 8,  # squares, sums, two concatenations, a product, a clamp, a root
    "_linalg_svd": 6,
    "_linalg_det": 4,
    "sort": 4,
    "cumsum": 1,
    "randperm": 4,
    "embedding_dense_backward": 3,
    "index_put": 4,
    "index_put_": 4,
    "_index_put_impl_": 4,
    "nonzero": 4,
}
COMPOSITE = torch._C.DispatchKey.CompositeImplicitAutograd
WAITS = {"_local_scalar_dense", "nonzero", "equal", "masked_select", "unique", "_unique2", "item"}
# Tensors per launch whose addresses fit into a kernel's arguments, by number of lists.
FOREACH_BATCH = (110, 64, 48, 36, 30)


@dataclass
class Launches:
    """What a piece of work asks of a GPU.

    Attributes:
        kernels: launches by operation.
        bytes_moved: bytes read and written by all launches.
        host_waits: times that the host waits for a value.
    """

    kernels: Counter[str] = field(default_factory=Counter)
    bytes_moved: int = 0
    host_waits: int = 0

    @property
    def total(self) -> int:
        """All launches."""
        return sum(self.kernels.values())


def counted_launches(work: Callable[[], object]) -> Launches:
    """Run `work` on meta tensors and count its launches."""
    counted = Launches()
    with _GpuAttention(), _Counter(counted):
        work()
    return counted


class _GpuAttention(TorchFunctionMode):
    """On meta tensors, use the attention kernel that PyTorch uses on a GPU."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if func is not F.scaled_dot_product_attention:
            return func(*args, **kwargs)
        return _efficient_attention(*args, **kwargs)


def _efficient_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    scale: float | None = None,
) -> Tensor:
    if attn_mask is not None and any(step % 8 for step in attn_mask.stride()[:-1]):
        # As PyTorch aligns it.
        padding = -attn_mask.shape[-1] % 8
        attn_mask = F.pad(attn_mask, (0, padding))[..., :-padding]
    needs_grad = torch.is_grad_enabled() and query.requires_grad
    return torch.ops.aten._scaled_dot_product_efficient_attention(
        query, key, value, attn_mask, needs_grad, dropout_p, False, scale=scale
    )[0]


class _Counter(TorchDispatchMode):
    def __init__(self, counted: Launches) -> None:
        super().__init__()
        self.counted = counted

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        name = func._schema.name.partition("::")[2]
        if COMPOSITE in func.py_kernels or torch._C._dispatch_has_kernel_for_dispatch_key(
            func.name(), COMPOSITE
        ):
            # In inference mode these come whole; elsewhere autograd has taken them apart.
            with self:
                return func.decompose(*args, **kwargs)
        if name in WAITS or (name == "_to_copy" and _leaves_device(args, kwargs)):
            self.counted.host_waits += 1
        # `torch.istft` asks whether a window leaves a gap; tensors without values cannot say.
        result = False if name == "equal" else func(*args, **kwargs)
        if name in CONVOLUTIONS:
            result = _laid_out(result, CONVOLUTIONS[name](*args))
        if number := _launches(func, name, args, kwargs):
            self.counted.kernels[name] += number
            self.counted.bytes_moved += _bytes((args, kwargs, result))
        return result


def _launches(func: Any, name: str, args: tuple[Any, ...], kwargs: Any) -> int:
    returned = [r.alias_info for r in func._schema.returns]
    is_view = any(info is not None and not info.is_write for info in returned)
    on_cpu = not any(t.device.type != "cpu" for t in tree_leaves((args, kwargs)) if _is_tensor(t))
    makes_cpu = "device" in func._schema.__str__() and _device_of(kwargs) not in ("meta", "")
    if name in FREE or is_view or (on_cpu and (_has_tensor(args, kwargs) or makes_cpu)):
        return 0
    if name.startswith(("_foreach", "_fused")):
        lists = [a for a in args if isinstance(a, (list, tuple)) and a and _is_tensor(a[0])]
        extra = 2 if name == "_foreach_norm" else 0  # zeros, and the sum of parts
        return extra - (-len(args[0]) // FOREACH_BATCH[min(len(lists), 5) - 1])
    if name == "convolution":
        return _convolution(*args)
    if name == "convolution_backward":
        return _convolution_backward(*args)
    if name in ("bmm", "baddbmm"):
        return 1 + sum(_must_copy(t) for t in args if _is_tensor(t))
    return LAUNCHES.get(name, 1)


def _is_tensor(value: Any) -> bool:
    return isinstance(value, Tensor)


def _has_tensor(args: Any, kwargs: Any) -> bool:
    return any(_is_tensor(leaf) for leaf in tree_leaves((args, kwargs)))


def _device_of(kwargs: Any) -> str:
    device = kwargs.get("device")
    return "cpu" if device is None else torch.device(device).type


def _leaves_device(args: tuple[Any, ...], kwargs: Any) -> bool:
    target = kwargs.get("device")
    return target is not None and args[0].device.type != "cpu" == torch.device(target).type


def _must_copy(matrix: Tensor) -> bool:
    """Whether a batched product cannot read the matrix as it lies in memory."""
    return matrix.ndim == 3 and matrix.stride(-1) != 1 and matrix.stride(-2) != 1


def _is_depthwise(x: Tensor, groups: int) -> bool:
    return groups > 1 and groups == x.shape[1] and x.ndim < 5


def _convolution(x: Tensor, weight: Tensor, bias: Tensor | None, *rest: Any) -> int:
    if _is_depthwise(x, rest[-1]):
        return 1 + int(not x.is_contiguous())
    layout = _forward_layout(x, weight, bias, *rest)
    return 1 + int(bias is not None) + _copies(layout, x, weight)


def _convolution_backward(grad: Tensor, x: Tensor, weight: Tensor, *rest: Any) -> int:
    groups, mask = rest[-2], rest[-1]
    if _is_depthwise(x, groups):
        return sum(mask) + _copies(torch.contiguous_format, grad, x)
    layout = _backward_layout(grad, x, weight, *rest)
    used = [grad, *([weight] if mask[0] else []), *([x] if mask[1] else [])]
    return sum(mask) + _copies(layout, *used)


def _forward_layout(
    x: Tensor, weight: Tensor, bias: Tensor | None, *rest: Any
) -> torch.memory_format:
    return _layout(x, weight, depthwise=_is_depthwise(x, rest[-1]))


def _backward_layout(grad: Tensor, x: Tensor, weight: Tensor, *rest: Any) -> torch.memory_format:
    return _layout(x, weight, depthwise=_is_depthwise(x, rest[-2]))


CONVOLUTIONS = {"convolution": _forward_layout, "convolution_backward": _backward_layout}


def _layout(x: Tensor, weight: Tensor, *, depthwise: bool) -> torch.memory_format:
    """How cuDNN lays out a convolution."""
    last = {4: torch.channels_last, 5: torch.channels_last_3d}.get(x.ndim)
    if last is None or depthwise:
        return torch.contiguous_format
    suggested = any(
        t.is_contiguous(memory_format=last) and not t.is_contiguous() for t in (x, weight)
    )
    return last if suggested else torch.contiguous_format


def _copies(layout: torch.memory_format, *tensors: Tensor) -> int:
    return sum(not t.is_contiguous(memory_format=layout) for t in tensors)


def _laid_out(results: Any, layout: torch.memory_format) -> Any:
    """What a convolution gives; on meta tensors it forgets the layout."""
    if isinstance(results, (tuple, list)):
        return tuple(_laid_out(one, layout) for one in results)
    if not _is_tensor(results) or results.ndim < 4:
        return results
    return results.contiguous(memory_format=layout)


def _bytes(values: Any) -> int:
    seen: dict[tuple[int, int, tuple[int, ...]], int] = {}
    for leaf in tree_leaves(values):
        if _is_tensor(leaf) and leaf.device.type != "cpu":
            held = 1
            for size, stride in zip(leaf.shape, leaf.stride(), strict=True):
                held *= size if stride else 1
            key = (leaf.untyped_storage()._cdata, leaf.storage_offset(), tuple(leaf.shape))
            seen[key] = held * leaf.element_size()
    return sum(seen.values())
