"""The `avsep` command, put together from the modules beside this one."""

from __future__ import annotations

from typing import Annotated

import typer

from avsep import __version__
from avsep.cli.audit import audit
from avsep.cli.bench import bench_app
from avsep.cli.cut import cut
from avsep.cli.export import export
from avsep.cli.export_model import export_model
from avsep.cli.fetch import fetch
from avsep.cli.landmarks import convert_landmarks
from avsep.cli.project import ProjectGroup
from avsep.cli.publish import publish
from avsep.cli.recordings import recordings
from avsep.cli.results import results
from avsep.cli.separate import separate
from avsep.cli.shards import inspect, shards_app, verify
from avsep.cli.web import serve, web
from avsep.cli.weights import weights_app
from avsep.terminal import echo

app = typer.Typer(
    name="avsep",
    cls=ProjectGroup,
    help="From raw talking-face video to trained, evaluated audio-visual speech separators.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
for command in (
    audit,
    convert_landmarks,
    cut,
    export,
    export_model,
    fetch,
    inspect,
    publish,
    recordings,
    results,
    separate,
    serve,
    verify,
    web,
):
    app.command()(command)
app.add_typer(bench_app, name="bench")
app.add_typer(shards_app, name="shards")
app.add_typer(weights_app, name="weights")


def _show_version(wanted: bool) -> None:
    if wanted:
        echo(f"avsep {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_show_version, is_eager=True, help="Show the version and exit."
        ),
    ] = False,
) -> None:
    """The options before a command."""
