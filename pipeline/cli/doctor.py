"""`avsep doctor`: what this machine has and lacks."""

from __future__ import annotations

from typing import Annotated

import typer

from avsep.cli.options import Root
from avsep.errors import CheckError
from avsep.terminal import echo
from avsep.workspace import PARAMS, find_project
from pipeline.config import load_configs
from pipeline.doctor import examine


def doctor(
    profile: Annotated[str, typer.Option(help="A profile's name; params.yaml if left out.")] = "",
    root: Root = None,
) -> None:
    """Say what this machine has and lacks for the chosen settings; exits 1 if they cannot run."""
    workspace = find_project(root)
    path = workspace.root / (f"profiles/{profile}.yaml" if profile else PARAMS)
    missing = 0
    for line in examine(workspace, load_configs(path)):
        echo(line)
        missing += line.state == "missing"
    if missing:
        raise CheckError(f"{missing} thing(s) that {path.name} needs are missing.")
