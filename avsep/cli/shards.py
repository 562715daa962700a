"""`avsep shards`: what sets of shards are made of, and how two of them differ."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from avsep.errors import CheckError

MAX_NAMES = 20

shards_app = typer.Typer(help="Sets of shards: how two versions differ.", no_args_is_help=True)


@shards_app.callback()
def _group() -> None:
    """Keep the command names even while there is only one."""


@shards_app.command()
def diff(
    old: Annotated[Path, typer.Argument(help="A folder of shards with manifest.json.")],
    new: Annotated[Path, typer.Argument(help="Another one.")],
    grown: Annotated[
        bool, typer.Option("--grown", help="Fail unless all of the old is in the new as it was.")
    ] = False,
) -> None:
    """Say which shards and samples two sets share, which are new, gone or changed."""
    from avsep.shards.difference import compare_sets

    difference = compare_sets(old, new)
    for what, change in (("shards", difference.shards), ("samples", difference.samples)):
        typer.echo(
            f"{what}: {len(change.same)} the same, {len(change.added)} new,"
            f" {len(change.removed)} gone, {len(change.changed)} changed"
        )
        for word in ("added", "removed", "changed"):
            names = getattr(change, word)
            for name in names[:MAX_NAMES]:
                typer.echo(f"  {word} {name}")
            if len(names) > MAX_NAMES:
                typer.echo(f"  {word} {len(names) - MAX_NAMES} more")
    if grown and not difference.shards.is_growth:
        raise CheckError(f"{new} has not grown from {old}: old shards have changed or are gone.")
