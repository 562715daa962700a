"""`avsep export-model`: a model as a file that other programs run."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from avsep.cli.options import Model, Root, Weights, project_root
from avsep.terminal import echo


class ModelForm(StrEnum):
    """The formats."""

    ONNX = "onnx"


def export_model(
    form: Annotated[ModelForm, typer.Argument(help="The format.")],
    out: Annotated[Path, typer.Option(help="A new .onnx file.")],
    model: Model = None,
    weights: Weights = None,
    root: Root = None,
) -> None:
    """Write a model with all its steps as one ONNX file, and check it in ONNX Runtime.

    It takes sound at 16 kHz of any length and the lips (Dolphin) or landmarks (VoViT) of a face.
    """
    from avsep.exporting import onnx_model
    from avsep.separation.resolve_model import resolve_model

    onnx_model.check(out)
    resolved = resolve_model(model, weights, project_root(root))
    for sentence in filter(None, (resolved.choice, resolved.note)):
        echo(f"avsep: {sentence}", err=True)
    made = onnx_model.export(resolved.path, out)
    for name, shape in made.inputs.items():
        echo(f"input\t{name}\t{shape}")
    for name, shape in made.outputs.items():
        echo(f"output\t{name}\t{shape}")
    echo(f"{out}: equal to the model within {made.difference:.0e} of its largest sample.")
