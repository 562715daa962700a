"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from avsep.errors import UsageError
from avsep.models.registry import MODELS
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


def known_model(name: str | None) -> str | None:
    """Check the name of a model.

    Raises:
        UsageError: there is no such model.
    """
    if name is not None and name not in MODELS:
        raise UsageError(f"--model is {name!r}; it may be {', '.join(MODELS)}.")
    return name


Model = Annotated[
    str | None,
    typer.Option(
        callback=known_model,
        metavar=f"[{'|'.join(MODELS)}]",
        help="The kind of model; any if left out.",
    ),
]
Weights = Annotated[
    str | None,
    typer.Option(
        "--weights",
        "--checkpoint",
        help="A name of `avsep weights list`, or a model folder or file; if left out: a full-size"
        " model of the project, released weights, or its demo model, whichever is there first.",
    ),
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
