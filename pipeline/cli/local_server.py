"""`avsep up` and `avsep down`: scheduled runs on one machine.

The library knows nothing of Prefect, so the work is done by `python -m flows.local_server`.
"""

from __future__ import annotations

import subprocess
import sys
from typing import Annotated

import typer

from avsep.cli.options import Root
from avsep.errors import UsageError
from avsep.workspace import find_project


def up(
    port: Annotated[int, typer.Option(min=1, max=65535, help="Of the server.")] = 4200,
    root: Root = None,
) -> None:
    """Start a Prefect server and a worker on this machine, with the deployments of prefect.yaml."""
    _local_server("up", "--root", str(find_project(root).root), "--port", str(port))


def down(root: Root = None) -> None:
    """Stop what `avsep up` has started, and the runs of it."""
    _local_server("down", "--root", str(find_project(root).root))


def _local_server(*words: str) -> None:
    from importlib.util import find_spec

    if find_spec("prefect") is None:
        raise UsageError("scheduled runs need `pip install 'avsep[orchestration]'`.")
    command = [sys.executable, "-m", "flows.local_server", *words]
    code = subprocess.run(command, check=False).returncode
    if code:
        raise typer.Exit(code)
