"""The `avsep` command. Exit codes: 0 all true, 1 a check failed, 2 bad use, 130 interrupted."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from avsep import __version__
from avsep.cli.audit import audit
from avsep.cli.bench import bench_app
from avsep.cli.export import export
from avsep.cli.fetch import fetch
from avsep.cli.project import ProjectGroup
from avsep.cli.separate import separate
from avsep.cli.shards import shards_app
from avsep.cli.web import web
from avsep.cli.weights import weights_app
from avsep.errors import AvsepError, CheckError

app = typer.Typer(
    name="avsep",
    cls=ProjectGroup,
    help="From raw talking-face video to trained, evaluated audio-visual speech separators.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
app.add_typer(bench_app, name="bench")
app.command()(separate)
app.command()(web)
app.add_typer(weights_app, name="weights")
app.add_typer(shards_app, name="shards")
app.command()(audit)
app.command()(export)
app.command()(fetch)

Root = Annotated[Path, typer.Option("--root", help="The project folder with params.yaml.")]


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"avsep {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show it.")
    ] = False,
) -> None:
    """The options before a command."""


@app.command()
def verify(
    directory: Annotated[Path, typer.Argument(help="A folder of shards with manifest.json.")],
    deep: Annotated[bool, typer.Option("--deep", help="Decode every member too.")] = False,
) -> None:
    """Check a set of shards against its manifest; name each file that is wrong."""
    from avsep.shards.verify import verify_set

    problems = verify_set(directory, deep=deep)
    for problem in problems:
        typer.echo(str(problem), err=True)
    if problems:
        raise CheckError(f"{directory} has {len(problems)} problem(s).")
    typer.echo(f"{directory}: all good.")


@app.command()
def inspect(
    directory: Annotated[Path, typer.Argument(help="A folder of shards with manifest.json.")],
    out: Annotated[Path, typer.Option(help="Where the pictures and the table go.")],
    limit: Annotated[int, typer.Option(min=1, help="How many samples.")] = 24,
) -> None:
    """Draw lips with landmarks, waveforms and a table, to look at a set of shards."""
    from avsep.shards.inspect import inspect_set

    for path in inspect_set(directory, out, limit=limit):
        typer.echo(path)


@app.command()
def results(root: Root = Path()) -> None:
    """Print the table of the evaluated models."""
    from rich.console import Console

    from avsep.reporting.table import summary_table
    from avsep.workspace import Workspace

    Console().print(summary_table(Workspace(root.resolve())))


# Typer brings a copy of click from 0.29 on: its exceptions are not those of the package click.
_ClickError: Any = next(
    kind for kind in typer.BadParameter.__mro__ if kind.__name__ == "ClickException"
)


def main() -> None:
    """Entry point of the `avsep` command."""
    try:
        # Not standalone, so that errors become one sentence and the right exit code here.
        code = app(standalone_mode=False)
    except AvsepError as error:
        print(f"avsep: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except _ClickError as error:
        if not error.format_message():  # a group without a command has shown its help
            sys.exit(0)
        print(f"avsep: {_sentence(error)}", file=sys.stderr)
        sys.exit(2)
    except (typer.Abort, KeyboardInterrupt):
        print("avsep: interrupted.", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    sys.exit(code if isinstance(code, int) else 0)


def _sentence(error: Any) -> str:
    """What is wrong with the words of a command, and where to read about it."""
    message = " ".join(error.format_message().split())
    context = getattr(error, "ctx", None)
    return f"{message} See `{context.command_path} --help`." if context else message
