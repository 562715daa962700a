"""`avsep bench tables`: what the stages cost per row, without media."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from avsep.cli.options import AsJson
from avsep.errors import UsageError
from avsep.terminal import echo


def tables(
    rows: Annotated[
        str, typer.Option(help="Numbers of clips, separated by commas.")
    ] = "10000,100000",
    step: Annotated[list[str] | None, typer.Option(help="Only this step; may be repeated.")] = None,
    folder: Annotated[
        Path | None,
        typer.Option(help="Where the tables are written; 5 GB for a million clips."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Measure what each stage does itself, on synthetic tables of clips: time and peak memory."""
    from avsep.files import dump_json
    from avsep.settings import as_values
    from pipeline.bench.tables import bench_tables, table

    try:
        counts = [int(count) for count in rows.split(",")]
    except ValueError as error:
        raise UsageError(f"{rows!r} must be whole numbers, e.g. 10000,100000.") from error
    if folder is not None and not folder.is_dir():
        raise UsageError(f"{folder} is not a folder.")
    figures = bench_tables(counts, step or (), folder=folder, announce=_announce)
    echo(dump_json(as_values(figures)) if as_json else table(figures))


def _announce(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
