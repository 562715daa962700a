"""`avsep ledger`: what became of every item."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipeline.errors import State
from pipeline.ledger import Ledger
from pipeline.markers import forget_failures
from pipeline.storage import Workspace

ledger_app = typer.Typer(help="What became of every item.", no_args_is_help=True)

Root = Annotated[Path, typer.Option("--root", help="The project folder.")]


def _ledger(root: Path) -> Ledger:
    return Ledger(Workspace(root.resolve()).ledger)


@ledger_app.command()
def summary(root: Root = Path()) -> None:
    """Count the items of each stage by how they ended."""
    from rich.console import Console
    from rich.table import Table

    ledger = _ledger(root)
    table = Table("stage", "total", "done", "dropped", "failed")
    for stage in ledger.stages():
        counts = ledger.counts(stage)
        sides = [
            ", ".join([str(side.total()), *(f"{code} {n}" for code, n in sorted(side.items()))])
            for side in (counts.dropped, counts.failed)
        ]
        table.add_row(stage, str(counts.total), str(counts.done), *sides)
    Console().print(table)


@ledger_app.command()
def failures(
    stage: Annotated[str, typer.Argument(help="A stage; all of them if left out.")] = "",
    root: Root = Path(),
) -> None:
    """Name the items that failed or were dropped, and why, one a line."""
    ledger = _ledger(root)
    for name in [stage] if stage else ledger.stages():
        for outcome in ledger.outcomes(name).values():
            if outcome.state is not State.DONE:
                typer.echo(
                    f"{name}\t{outcome.item}\t{outcome.state}\t{outcome.reason}\t{outcome.message}"
                )


@ledger_app.command()
def retry(
    stage: Annotated[str, typer.Argument(help="The stage whose failed items may run again.")],
    root: Root = Path(),
) -> None:
    """Let the next run of a stage try its failed items again."""
    count = forget_failures(stage, Workspace(root.resolve()))
    typer.echo(f"{count} item(s) of {stage} will be tried again.")
