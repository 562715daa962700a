"""Released VoViT checkpoints, made into a model of this project."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from avsep.errors import CheckError
from avsep.files import write_text
from avsep.models import checkpoint
from avsep.models.released import described, one_sentence
from avsep.models.vovit.config import Variant, VoViTConfig
from avsep.models.vovit.state_dict_adapter import load_official

LICENCE = "None stated by the authors (JuanFMontesinos/VoViT): all rights reserved."
NO_MEAN_FACE = (
    "none: give one with set_mean_face before use. The weights were trained on landmarks registered"
    " to the official mean face, without scaling, so a face of another size does not fit."
)
MAX_FACE_BYTES = 1 << 16


def import_release(files: Mapping[str, Path], out: Path, variant: str) -> dict[str, Any]:
    """Turn the files of a release into a model file; see `import_vovit`.

    Args:
        files: by role: `stage1`, `mean_face` (a `.npy` file), and `enhancer` for `speech`.
        out: see `import_vovit`.
        variant: see `import_vovit`.
    """
    return import_vovit(
        files["stage1"],
        files.get("enhancer"),
        out,
        variant=cast("Variant", variant),
        mean_face=_face_table(files["mean_face"]),
    )


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
        CheckError: a file is missing, damaged, or of other names, shapes or values; nothing is
            written then.
        UsageError: `out` exists already, or is not a `.safetensors` file.
    """
    with one_sentence():
        face = None if mean_face is None else read_mean_face(mean_face)
        model = load_official(stage1, enhancer, variant=variant, mean_face=face, config=config)
    files = [described("stage1", stage1)]
    if enhancer is not None:
        files.append(described("enhancer", enhancer))
    card: dict[str, Any] = {"family": "vovit", "licence": LICENCE, "source": files}
    if model.config.registers:
        card["mean_face"] = NO_MEAN_FACE if mean_face is None else described("mean face", mean_face)
    return checkpoint.save_file(model, out, card)


def read_mean_face(path: Path) -> Tensor:
    """The mean face (68, 3) in pixels from a table with the columns index, x, y, z and a heading.

    Raises:
        ValueError: missing, or not 68 numbered rows of three finite numbers.
    """
    if not path.is_file() or path.stat().st_size > MAX_FACE_BYTES:
        raise ValueError(f"{path} is not a table of a mean face: it is missing or far too large.")
    try:
        # Not `splitlines`, which also breaks at U+2028 and others.
        lines = [line.rstrip("\r") for line in path.read_text("utf-8").split("\n")[1:]]
        rows = [line.split("\t") for line in lines if line]
        numbers = [[float(cell) for cell in row] for row in rows]
    except ValueError as error:  # not text, or a cell that is not a number
        raise ValueError(f"{path} is not a table of numbers: {error}.") from error
    face = [row[1:] for row in numbers]
    if [row[0] for row in numbers if row] != list(range(68)) or {len(row) for row in face} != {3}:
        raise ValueError(f"{path} must have the columns index, x, y, z and the rows 0 to 67.")
    return torch.tensor(face)


def _face_table(path: Path) -> Path:
    """The mean face of a .npy file as the table that `released` reads."""
    try:
        face = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise CheckError(f"{path.name} is not an array: {error}.") from error
    if face.shape == (3, 68):
        face = face.T
    if face.shape != (68, 3):
        raise CheckError(f"{path.name} holds {face.shape}, not the 68 points of a mean face.")
    rows = ["\t".join(("index", "x", "y", "z"))]
    rows += ["\t".join([str(i), *(repr(float(v)) for v in row)]) for i, row in enumerate(face)]
    table = path.with_suffix(".tsv")
    write_text(table, "\n".join(rows) + "\n")
    return table
