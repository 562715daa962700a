"""The `avsep` command. Exit codes: 0 all true, 1 a check failed, 2 bad use, 130 interrupted."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import click
import typer

from pipeline import __version__
from pipeline.cli.audit import audit
from pipeline.cli.bench import bench_app
from pipeline.cli.export import export
from pipeline.cli.fetch import fetch
from pipeline.cli.ledger import ledger_app
from pipeline.cli.profile import profile_app
from pipeline.cli.separate import separate
from pipeline.cli.shards import shards_app
from pipeline.cli.station import down, up
from pipeline.cli.web import web
from pipeline.cli.weights import weights_app
from pipeline.config import STAGES
from pipeline.errors import AvsepError, CheckError, UsageError

app = typer.Typer(
    name="avsep",
    help="From raw talking-face video to trained, evaluated audio-visual speech separators.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
app.add_typer(profile_app, name="profile")
app.add_typer(ledger_app, name="ledger")
app.add_typer(bench_app, name="bench")
app.command()(separate)
app.command()(web)
app.add_typer(weights_app, name="weights")
app.add_typer(shards_app, name="shards")
app.command()(audit)
app.command()(export)
app.command()(up)
app.command()(down)
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
def run(
    stage: Annotated[str, typer.Argument(help=", ".join(STAGES))],
    model: Annotated[
        str, typer.Option(help="For train and evaluate: dolphin, vovit-s1 or vovit.")
    ] = "",
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Try the items again that failed.")
    ] = False,
    root: Root = Path(),
) -> None:
    """Run one stage here, without Prefect and DVC."""
    from dataclasses import replace

    from pipeline.config import load_stage
    from pipeline.retry import retry
    from pipeline.runner import run_stage
    from pipeline.storage import Workspace
    from pipeline.terminal import stage_progress

    workspace = Workspace(root.resolve())
    config = load_stage(workspace.root / "params.yaml", stage)
    if hasattr(config, "model"):
        if not model:
            raise UsageError(f"`avsep run {stage}` needs --model dolphin, vovit-s1 or vovit.")
        config = replace(config, model=model)
    elif model:
        raise UsageError(f"the stage {stage} has no --model.")
    if retry_failed:
        retry(stage, workspace)
    report = run_stage(stage, workspace, config=config, progress=stage_progress)
    typer.echo(report.sentence())


@app.command()
def verify(
    directory: Annotated[Path, typer.Argument(help="A folder of shards with manifest.json.")],
    deep: Annotated[bool, typer.Option("--deep", help="Decode every member too.")] = False,
) -> None:
    """Check a set of shards against its manifest; name each file that is wrong."""
    from pipeline.shards.verify import verify_set

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
    from pipeline.shards.inspect import inspect_set

    for path in inspect_set(directory, out, limit=limit):
        typer.echo(path)


@app.command()
def doctor(
    profile: Annotated[str, typer.Option(help="A profile's name; params.yaml if left out.")] = "",
    root: Root = Path(),
) -> None:
    """Say what this machine has and lacks for the chosen settings; exits 1 if they cannot run."""
    from pipeline.config import read_params
    from pipeline.doctor import examine
    from pipeline.storage import Workspace

    path = root / "profiles" / f"{profile}.yaml" if profile else root / "params.yaml"
    missing = 0
    for line in examine(Workspace(root.resolve()), read_params(path)):
        typer.echo(line)
        missing += line.state == "missing"
    if missing:
        raise CheckError(f"{missing} thing(s) that {path.name} needs are missing.")


@app.command()
def results(root: Root = Path()) -> None:
    """Print the table of the evaluated models."""
    from rich.console import Console

    from pipeline.reporting.table import summary_table
    from pipeline.storage import Workspace

    Console().print(summary_table(Workspace(root.resolve())))


def main() -> None:
    """Entry point of the `avsep` command."""
    try:
        # Not standalone, so that errors become one sentence and the right exit code here.
        code = app(standalone_mode=False)
    except AvsepError as error:
        print(f"avsep: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except (click.Abort, KeyboardInterrupt):
        print("avsep: interrupted.", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    sys.exit(code if isinstance(code, int) else 0)
