"""A released Dolphin checkpoint, made into a model of this project."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from avsep.models import checkpoint
from avsep.models.dolphin.config import DolphinConfig
from avsep.models.dolphin.state_dict_adapter import load_official
from avsep.models.dolphin.state_dict_names import unused_names
from avsep.models.released import described, one_sentence

LICENCE = (
    "The authors' code is Apache-2.0, which does not cover the weights: these were"
    " distilled from AV-HuBERT (a licence of its own) and trained on VoxCeleb2, LRS2 and LRS3; the"
    " authors do not call them cleared for commercial use (MODEL_PROVENANCE.md in JusperLee/"
    "Dolphin, 2026-07-22)."
)


def import_release(files: Mapping[str, Path], out: Path, variant: str) -> dict[str, Any]:
    """Turn the file `model` of a release into a model file; see `import_dolphin`."""
    return import_dolphin(files["model"], out)


def import_dolphin(
    source: Path, out: Path, *, config: DolphinConfig | None = None
) -> dict[str, Any]:
    """Turn a released Dolphin checkpoint into a model file; returns its card.

    Args:
        source: `.safetensors`, or a torch file of tensors.
        out: a `.safetensors` file; the card goes beside it as `.json`.
        config: sizes; the released model if None.

    Raises:
        CheckError: the source is missing, damaged, or of other names, shapes or values; nothing is
            written then.
        UsageError: `out` is there already, or no `.safetensors`.
    """
    with one_sentence():
        model = load_official(source, config=config)
    card = {
        "family": "dolphin",
        "licence": LICENCE,
        "source": [described("model", source)],
        "unused_entries": len(unused_names(model)),
    }
    return checkpoint.save_file(model, out, card)
