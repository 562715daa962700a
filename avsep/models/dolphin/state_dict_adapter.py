"""Weights of the official Dolphin checkpoint, to and from our state dict.

Names are matched strictly, see `official_names`. Values are kept; only axes of length one may
differ.
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
from avsep.models.official_state import match_entries, read_state

_LOG = logging.getLogger(__name__)


def load_official(
    source: Mapping[str, Tensor] | str | Path,
    *,
    config: DolphinConfig | None = None,
    heat: HeatMode = "auto",
    device: str | torch.device = "cpu",
) -> Dolphin:
    """Dolphin in eval mode with official weights.

    Args:
        source: a state dict with official names, a `.safetensors` file, or a torch file that holds
            only tensors.
        config: sizes; None for those of the released model.
        heat: how heat diffusion is computed, see `blur`.
        device: the device of the model.

    Raises:
        ValueError: the file cannot be read, a name is missing or unknown, a shape is wrong or a
            value is not finite; the message lists the names.
    """
    state = read_state(source)
    dolphin = Dolphin(config or DolphinConfig.full())
    names = official_names(dolphin)
    dolphin.load_state_dict(
        match_entries(dolphin, names, state, "this Dolphin", ignore_unit_axes=True)
    )
    unused = unused_names(dolphin)
    _LOG.info("loaded %d entries; no output depends on %d of them.", len(state), len(unused))
    return dolphin.set_heat(heat).to(device).eval()
