"""`avsep verify`, `avsep inspect` and `avsep shards`: for sets of shards."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from avsep.errors import CheckError, printable
from avsep.terminal import echo

MAX_NAMES = 20  # printed per kind of change

Directory = Annotated[Path, typer.Argument(help="A folder of shards with manifest.json.")]

shards_app = typer.Typer(help="Compare or upgrade sets of shards.", no_args_is_help=True)


def verify(
    directory: Directory,
    deep: Annotated[bool, typer.Option("--deep", help="Decode every member too.")] = False,
) -> None:
    """Check a set of shards against its manifest; name each file that is wrong."""
    from avsep.shards.verify import verify_set

    problems = verify_set(directory, deep=deep)
    for problem in problems:
        echo(printable(str(problem)), err=True)
    if problems:
        raise CheckError(f"{directory} has {len(problems)} problem(s).")
    echo(f"{directory}: all good.")


def inspect(
    directory: Directory,
    out: Annotated[Path, typer.Option(help="The folder to write the pictures and the table to.")],
    limit: Annotated[int, typer.Option(min=1, help="How many samples to draw.")] = 24,
) -> None:
    """Draw lips with landmarks and waveforms of a set of shards, and write a table."""
    from avsep.shards.inspect import inspect_set

    for path in inspect_set(directory, out, limit=limit):
        echo(path)


@shards_app.command()
def reindex(directory: Directory) -> None:
    """Give an older set the index that opens in a second; the shards stay as they are."""
    from avsep.shards.places import reindex_set

    manifest = reindex_set(directory)
    echo(
        f"{directory}: format {manifest.version}, {manifest.num_samples} samples in"
        f" {len(manifest.shards)} shards are indexed with their places."
    )


@shards_app.command()
def diff(
    old: Directory,
    new: Annotated[Path, typer.Argument(help="The folder to compare it with.")],
    grown: Annotated[
        bool, typer.Option("--grown", help="Fail unless the new set keeps all old shards as is.")
    ] = False,
) -> None:
    """Count the shards and samples that two sets share, and name those that differ."""
    from avsep.shards.difference import compare_sets

    difference = compare_sets(old, new)
    for what, change in (("shards", difference.shards), ("samples", difference.samples)):
        echo(
            f"{what}: {len(change.same)} the same, {len(change.added)} new,"
            f" {len(change.removed)} gone, {len(change.changed)} changed"
        )
        for word in ("added", "removed", "changed"):
            names = getattr(change, word)
            for name in names[:MAX_NAMES]:
                echo(f"  {word} {name}")
            if len(names) > MAX_NAMES:
                echo(f"  {word} {len(names) - MAX_NAMES} more")
    if grown and not difference.shards.is_growth:
        raise CheckError(f"{new} does not extend {old}: old shards have changed or are gone.")
