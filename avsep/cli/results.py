"""`avsep results`: the table of the evaluated models."""

from __future__ import annotations

from avsep.cli.options import Root, project_root


def results(root: Root = None) -> None:
    """Print the table of the evaluated models."""
    from rich.console import Console

    from avsep.reporting.table import summary_table
    from avsep.workspace import Workspace

    console = Console()
    plain = console.options.ascii_only
    console.print(summary_table(Workspace(project_root(root)), plain=plain))
