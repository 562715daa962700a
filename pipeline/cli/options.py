"""Options that the commands of a project share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Root = Annotated[
    Path | None,
    typer.Option("--root", help="The project folder; searched from here upward if left out."),
]
