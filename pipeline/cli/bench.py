"""`avsep bench`: measure speed on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

bench_app = typer.Typer(help="Measure speed on this machine.", no_args_is_help=True)


@bench_app.callback()
def _group() -> None:
    """Keep the command names even while there is only one."""


@bench_app.command()
def extract(
    video: Annotated[
        Path | None, typer.Argument(help="A video; a demo clip is rendered if left out.")
    ] = None,
    repeats: Annotated[int, typer.Option(min=1, help="Runs; the fastest counts.")] = 3,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Measure frames a second of one core, with the share of each step."""
    from pipeline.bench.extract import bench_extract
    from pipeline.storage import dump_json

    figures = bench_extract(video, repeats=repeats)
    if as_json:
        typer.echo(dump_json(figures))
        return
    for key, value in figures.items():
        typer.echo(f"{key:24} {value:.4g}" if isinstance(value, float) else f"{key:24} {value}")
