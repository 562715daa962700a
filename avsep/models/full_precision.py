"""Parts of a model that run in float32 whatever the number format around them."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor


def full_precision(x: Tensor) -> AbstractContextManager[Any]:
    """A context without autocast on the device of `x`; meta tensors know no autocast.

    On a GPU its products may still use TF32, see `avsep.number_format`.
    """
    return nullcontext() if x.is_meta else torch.autocast(x.device.type, enabled=False)


def check_format(weight: Tensor, **inputs: Tensor) -> None:
    """Check that weights and inputs have PyTorch's default format, which is float32.

    Raises:
        ValueError: they have not; the message says what to do.
    """
    wanted = torch.get_default_dtype()
    if weight.dtype != wanted:
        raise ValueError(
            f"the weights are {_name(weight.dtype)}; keep them in {_name(wanted)} (model.float()),"
            " and use torch.autocast or the setting precision for a short format."
        )
    for name, values in inputs.items():
        if values.dtype != wanted:
            hint = "convert" if values.is_floating_point() else "scale"
            raise ValueError(
                f"{name} is {_name(values.dtype)}; {hint} it to {_name(wanted)}"
                f"{'' if hint == 'convert' else ' in -1..1 (int16: divide by 32768)'}."
            )


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def autocast_dtype(x: Tensor) -> torch.dtype | None:
    """The number format of the surrounding autocast on the device of `x`; None without one."""
    if x.is_meta or not torch.is_autocast_enabled(x.device.type):
        return None
    return torch.get_autocast_dtype(x.device.type)
