"""Released checkpoints of others, made into finished models of this project.

The official names are matched strictly and the values kept; what comes out is a safetensors file
with a card that says where the weights are from, see `checkpoint`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from avsep.errors import CheckError
from avsep.files import sha256_file
from avsep.models import checkpoint
from avsep.models.dolphin.config import DolphinConfig
from avsep.models.dolphin.state_dict_adapter import load_official as load_dolphin
from avsep.models.dolphin.state_dict_names import unused_names
from avsep.models.vovit.config import Variant, VoViTConfig
from avsep.models.vovit.state_dict_adapter import load_official as load_vovit

LICENCES = {
    "dolphin": "The authors' code is Apache-2.0, which does not cover the weights: these were"
    " distilled from AV-HuBERT (a licence of its own) and trained on VoxCeleb2, LRS2 and LRS3; the"
    " authors do not call them cleared for commercial use (MODEL_PROVENANCE.md in JusperLee/"
    "Dolphin, 2026-07-22).",
    "vovit": "None stated by the authors (JuanFMontesinos/VoViT): all rights reserved.",
}
NO_MEAN_FACE = (
    "none: give one with set_mean_face before use. The weights were trained on landmarks registered"
    " to the official mean face, without scaling, so a face of another size will not do."
)
MAX_FACE_BYTES = 1 << 16


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
    with _one_sentence():
        model = load_dolphin(source, config=config)
    card = {
        "family": "dolphin",
        "licence": LICENCES["dolphin"],
        "source": [_described("model", source)],
        "unused_entries": len(unused_names(model)),
    }
    return checkpoint.save_file(model, out, card)


def import_vovit(
    stage1: Path,
    enhancer: Path | None,
    out: Path,
    *,
    variant: Variant,
    mean_face: Path | None = None,
    config: VoViTConfig | None = None,
) -> dict[str, Any]:
    """Turn released VoViT checkpoints into one model file; returns its card.

    Args:
        stage1: the first stage, `.safetensors` or a torch file of tensors.
        enhancer: the second stage, for the variant `speech` alone.
        out: a `.safetensors` file; the card goes beside it as `.json`.
        variant: which model it is.
        mean_face: a table of the official mean face, see `read_mean_face`. Without it the model
            has none and must be given one before use.
        config: sizes; the released model if None.

    Raises:
        CheckError: see `import_dolphin`.
        UsageError: see `import_dolphin`.
    """
    with _one_sentence():
        face = None if mean_face is None else read_mean_face(mean_face)
        model = load_vovit(stage1, enhancer, variant=variant, mean_face=face, config=config)
    files = [_described("stage1", stage1)]
    if enhancer is not None:
        files.append(_described("enhancer", enhancer))
    card: dict[str, Any] = {"family": "vovit", "licence": LICENCES["vovit"], "source": files}
    if model.config.registers:
        card["mean_face"] = (
            NO_MEAN_FACE if mean_face is None else _described("mean face", mean_face)
        )
    return checkpoint.save_file(model, out, card)


def read_mean_face(path: Path) -> Tensor:
    """The mean face (68, 3) in pixels from a table with the columns index, x, y, z and a heading.

    Raises:
        ValueError: missing, or not 68 numbered rows of three finite numbers.
    """
    if not path.is_file() or path.stat().st_size > MAX_FACE_BYTES:
        raise ValueError(f"{path} is no table of a mean face: missing, or far too large.")
    try:
        rows = [line.split("\t") for line in path.read_text("utf-8").splitlines()[1:] if line]
        numbers = [[float(cell) for cell in row] for row in rows]
    except ValueError as error:  # no text, or a cell that is no number
        raise ValueError(f"{path} is no table of numbers: {error}.") from error
    face = [row[1:] for row in numbers]
    if [row[0] for row in numbers if row] != list(range(68)) or {len(row) for row in face} != {3}:
        raise ValueError(f"{path} must have the columns index, x, y, z and the rows 0 to 67.")
    return torch.tensor(face)


@contextmanager
def _one_sentence() -> Iterator[None]:
    """Bad files are no fault of the program: a check that failed."""
    try:
        yield
    except ValueError as error:
        raise CheckError(str(error)) from error


def _described(part: str, path: Path) -> dict[str, Any]:
    return {
        "part": part,
        "name": path.name,
        "sha256": sha256_file(path),
        "size_bytes": path.stat().st_size,
    }
