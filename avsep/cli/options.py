"""Options that several commands share."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from avsep.errors import UsageError
from avsep.workspace import find_project

Root = Annotated[
    Path | None,
    typer.Option(
        "--root",
        exists=True,
        file_okay=False,
        help="The project folder; searched from here upward if left out.",
    ),
]


class ModelName(StrEnum):
    """The models that separate."""

    DOLPHIN = "dolphin"
    VOVIT = "vovit"
    VOVIT_S1 = "vovit-s1"


Model = Annotated[ModelName | None, typer.Option(help="The kind of model [dolphin].")]
Checkpoint = Annotated[
    Path | None,
    typer.Option(help="A model folder; the trained or downloaded model if left out."),
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:<n>.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def project_root(root: Path | None) -> Path:
    """The folder whose trained models a command uses; the current one outside of a project."""
    if root is not None:
        return root.resolve()
    try:
        return find_project().root
    except UsageError:
        return Path().resolve()
