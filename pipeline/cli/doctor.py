"""`avsep doctor`: what this machine has and lacks."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from avsep.errors import CheckError
from avsep.workspace import Workspace
from pipeline.config import PARAMS, load_configs
from pipeline.doctor import examine


def doctor(
    profile: Annotated[str, typer.Option(help="A profile's name; params.yaml if left out.")] = "",
    root: Annotated[Path, typer.Option("--root", help="The project folder.")] = Path(),
) -> None:
    """Say what this machine has and lacks for the chosen settings; exits 1 if they cannot run."""
    path = root / "profiles" / f"{profile}.yaml" if profile else root / PARAMS
    missing = 0
    for line in examine(Workspace(root.resolve()), load_configs(path)):
        typer.echo(line)
        missing += line.state == "missing"
    if missing:
        raise CheckError(f"{missing} thing(s) that {path.name} needs are missing.")
