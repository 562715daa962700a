"""Weights of the released Dolphin checkpoint, to and from ours.

The names are matched strictly (see `official_names`); values are the same, only axes of length
one may differ. Reading a file runs no code from it.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from avsep.models.dolphin.config import DolphinConfig, HeatMode
from avsep.models.dolphin.model import Dolphin
from avsep.models.dolphin.state_dict_names import official_names, unused_names
from avsep.models.tensor_file import read_tensors

_LOG = logging.getLogger(__name__)


def load_official(
    source: Mapping[str, Tensor] | str | Path,
    *,
    config: DolphinConfig | None = None,
    heat: HeatMode = "auto",
    device: str | torch.device = "cpu",
) -> Dolphin:
    """Dolphin in eval mode with released weights.

    Args:
        source: a state dict with the released names, a `.safetensors` file, or a torch file that
            holds tensors only.
        config: sizes; the released model if None.
        heat: how heat diffusion is computed, see `blur`.
        device: where to put the model.

    Raises:
        ValueError: a name is missing or unknown, a shape is wrong, a value is not finite, or the
            file cannot be read; the message lists the names.
    """
    state = source if isinstance(source, Mapping) else read_tensors(Path(source))
    dolphin = Dolphin(config or DolphinConfig.full())
    dolphin.load_state_dict(from_official(dolphin, state))
    unused = unused_names(dolphin)
    _LOG.info("%d entries loaded; %d of them affect no output.", len(state), len(unused))
    return dolphin.set_heat(heat).to(device).eval()


def from_official(dolphin: Dolphin, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A state dict for `dolphin` from one with released names.

    Raises:
        ValueError: see `load_official`.
    """
    names = official_names(dolphin)
    expected = dolphin.state_dict()
    problems = _list("missing", names.values() - state.keys())
    problems += _list("unknown", state.keys() - set(names.values()))
    result: dict[str, Tensor] = {}
    for ours, released in names.items():
        if released not in state:
            continue
        tensor = state[released]
        if _without_ones(tensor) != _without_ones(expected[ours]):
            problems.append(f"wrong shape: {released} is {tuple(tensor.shape)}")
            continue
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            problems.append(f"not finite: {released}")
        result[ours] = tensor.to(expected[ours].dtype).reshape(expected[ours].shape)
    if problems:
        raise ValueError(f"these are no weights of this Dolphin: {'; '.join(problems)}.")
    return result


def to_official(dolphin: Dolphin) -> dict[str, Tensor]:
    """The state of `dolphin` under released names (shapes are ours)."""
    state = dolphin.state_dict()
    return {released: state[ours] for ours, released in official_names(dolphin).items()}


def _without_ones(tensor: Tensor) -> list[int]:
    return [size for size in tensor.shape if size != 1]


def _list(what: str, names: set[str]) -> list[str]:
    if not names:
        return []
    shown = sorted(names)
    more = f" and {len(shown) - 20} more" if len(shown) > 20 else ""
    return [f"{len(shown)} {what}: {', '.join(shown[:20])}{more}"]
