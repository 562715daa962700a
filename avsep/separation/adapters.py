"""A loaded model of any family as a separator of windows."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import nn

from avsep.errors import CheckError, UsageError
from avsep.models.adapter import ModelAdapter
from avsep.models.registry import model_name, model_of
from avsep.number_format import set_tf32
from avsep.separation.config import PrecisionName


def adapter_for(model: nn.Module, precision: PrecisionName = "fp32") -> ModelAdapter:
    """The adapter of a loaded model (see `avsep.models.checkpoint.load`).

    Raises:
        CheckError: the model does not separate speech.
        UsageError: fp16 was asked for without a GPU.
    """
    card: dict[str, Any] = model.card  # type: ignore[assignment]
    device = next(model.parameters()).device.type
    if precision == "fp16" and device != "cuda":
        raise UsageError(f"precision fp16 needs a GPU, not {device}; use bf16, which runs on both.")
    set_tf32(precision, device)
    dtype = torch.bfloat16 if precision == "bf16" else torch.float16
    cast: AbstractContextManager[Any] = (
        nullcontext() if precision == "fp32" else torch.autocast(device, dtype=dtype)
    )
    spec = model_of(card)
    if spec is None or spec.family.adapter is None:
        raise CheckError(f"the model {model_name(card)} does not separate speakers.")
    return spec.family.adapter()(model.eval(), cast)
