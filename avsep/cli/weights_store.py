"""`avsep weights list` and `get`: what is here, and released weights by name."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from avsep.errors import UsageError

store_app = typer.Typer()


@store_app.command("list")
def list_weights(
    root: Annotated[Path, typer.Option("--root", help="The project folder.")] = Path(),
) -> None:
    """List the weights that are here, and those that can be fetched."""
    from rich.console import Console
    from rich.table import Table

    from avsep.separation.resolve_model import note_on
    from avsep.weights.catalogue import RELEASES
    from avsep.weights.store import installed

    found = installed(root.resolve())
    table = Table("name", "kind", "parameters", "where", "what to know")
    for weights in found:
        count = f"{int(weights.card.get('parameters', 0)):,}"
        note = note_on(weights.card)
        table.add_row(weights.name, weights.kind, count, str(weights.path), note)
    here = {weights.name for weights in found if weights.kind == "released"}
    for name, release in RELEASES.items():
        if name not in here:
            table.add_row(name, "to fetch", "", f"avsep weights get {name}", release.title)
    Console().print(table)


@store_app.command("get")
def get_weights(
    name: Annotated[str, typer.Argument(help="dolphin, vovit or vovit-s1.")],
    yes: Annotated[bool, typer.Option("--yes", help="Agree to the terms without asking.")] = False,
    base: Annotated[
        str, typer.Option("--from", help="Address of a folder with the same files.")
    ] = "",
) -> None:
    """Fetch released weights, after their terms were shown and agreed to."""
    from avsep.progress import show_progress
    from avsep.weights.catalogue import release
    from avsep.weights.store import get, store_folder

    wanted = release(name)
    typer.echo(f"{wanted.title}\nTerms: {wanted.terms}", err=True)
    for part in wanted.parts.values():
        typer.echo(f"  {(base or part.url).rstrip('/')}/{part.name}", err=True)
    if not yes:
        if not sys.stdin.isatty():
            raise UsageError("nobody is there to agree to the terms; say --yes if you do.")
        typer.confirm("Fetch these files under these terms?", abort=True, err=True)
    with show_progress(f"bytes of {name}", 0) as advance:
        found = get(name, store_folder(), base=base, advance=advance)
    typer.echo(f"{found.path}: {found.card['parameters']:,} parameters")
    for source in found.card["source"]:
        typer.echo(f"{source['part']}\t{source['name']}\tsha256 {source['sha256']}")
