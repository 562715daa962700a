"""Match the entries of an official checkpoint to those of one of our modules, strictly."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from avsep.models.tensor_file import read_tensors

StateDict = Mapping[str, Tensor]

MAX_SHOWN = 20  # names per kind of problem in an error message


def read_state(source: StateDict | Path | str) -> StateDict:
    """The state dict itself, or the one in a file; see `read_tensors`."""
    return source if isinstance(source, Mapping) else read_tensors(Path(source))


def match_entries(
    module: nn.Module,
    official_names: Mapping[str, str],
    state: StateDict,
    what: str,
    *,
    ignore_unit_axes: bool = False,
) -> dict[str, Tensor]:
    """A state dict for `module` from one with official names.

    Args:
        module: gives the names, shapes and types that are needed.
        official_names: our name of each entry -> the official one.
        state: entries under official names.
        what: what the weights are for, for the error message.
        ignore_unit_axes: whether shapes may differ by axes of length one.

    Raises:
        ValueError: a name is missing or unknown, a shape is wrong or a value is not finite; the
            message lists the names.
    """
    expected = module.state_dict()
    problems = _listed("missing", official_names.values() - state.keys())
    problems += _listed("unknown", state.keys() - set(official_names.values()))
    result: dict[str, Tensor] = {}
    for ours, official in official_names.items():
        if official not in state:
            continue
        given, needed = state[official], expected[ours]
        if _shape(given, ignore_unit_axes) != _shape(needed, ignore_unit_axes):
            problems.append(
                f"wrong shape: {official} is {tuple(given.shape)}, not {tuple(needed.shape)}"
            )
            continue
        if not torch.isfinite(given).all():
            problems.append(f"not finite: {official}")
        result[ours] = given.to(needed.dtype, copy=True).reshape(needed.shape)
    if problems:
        raise ValueError(f"these are not official weights of {what}: {'; '.join(problems)}.")
    return result


def _shape(tensor: Tensor, ignore_unit_axes: bool) -> list[int]:
    return [size for size in tensor.shape if size != 1 or not ignore_unit_axes]


def _listed(problem: str, names: set[str]) -> list[str]:
    if not names:
        return []
    shown = sorted(names)
    more = f" and {len(shown) - MAX_SHOWN} more" if len(shown) > MAX_SHOWN else ""
    return [f"{len(shown)} {problem}: {', '.join(shown[:MAX_SHOWN])}{more}"]
