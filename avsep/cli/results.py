"""`avsep results`: the table of the evaluated models, the page, and what to do next."""

from __future__ import annotations

import shlex
import shutil
import sys
from pathlib import Path

from avsep.cli.options import Root, project_root
from avsep.terminal import echo
from avsep.workspace import Workspace

NEXT = (
    ("separate your own video", "separate VIDEO -o out"),
    ("the same in a browser", "web"),
    ("train on another corpus", "profile list"),
)


def results(root: Root = None) -> None:
    """Print the table of the evaluated models, where the page is, and what to do next."""
    show_results(Workspace(project_root(root)))


def show_results(workspace: Workspace) -> None:
    """Print the table; where there is a page, also its place and what to do next."""
    from rich.console import Console

    from avsep.reporting.table import summary_table

    console = Console()
    console.print(summary_table(workspace, plain=console.options.ascii_only))
    page = workspace.report / "index.html"
    if not page.is_file():
        return
    echo(f"The page: {page}")
    echo("What to do next:")
    command = _as_typed()
    width = max(len(purpose) for purpose, _ in NEXT) + 1
    for purpose, words in NEXT:
        echo(f"  {f'{purpose}:':{width}} {command} {words}")


def _as_typed() -> str:
    """How this installation's `avsep` is typed here: by its path where the shell lacks it."""
    ours = Path(sys.executable).with_name("avsep")
    found = shutil.which("avsep")
    if not ours.exists() or (found and ours.samefile(found)):
        return "avsep"
    here = Path.cwd()
    return shlex.quote(str(ours.relative_to(here) if ours.is_relative_to(here) else ours))
