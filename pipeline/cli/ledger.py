"""`avsep ledger`: what became of every item."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from avsep.cli.options import Root
from avsep.errors import FAILURE_KINDS, CheckError, Reason, printable
from avsep.outcome import SourceRow
from avsep.terminal import cell, echo
from avsep.workspace import find_project
from pipeline.config import find_stage
from pipeline.execution.ledger import Ledger
from pipeline.execution.markers import failures_of, retry
from pipeline.stages import STAGES

if TYPE_CHECKING:
    from rich.console import Console

ledger_app = typer.Typer(help="What became of every item.", no_args_is_help=True)


def _ledger(root: Path | None) -> Ledger:
    return Ledger.existing(find_project(root).ledger)


@ledger_app.command()
def summary(root: Root = None) -> None:
    """Count the items of each stage by how they ended."""
    from rich.console import Console
    from rich.table import Table

    ledger = _ledger(root)
    table = Table("stage", "total", "done", "dropped", "failed")
    for stage, counts in ledger.all_counts().items():
        sides = [
            ", ".join([str(side.total()), *(f"{code} {n}" for code, n in sorted(side.items()))])
            for side in (counts.dropped, counts.failed)
        ]
        table.add_row(*map(cell, (stage, counts.total, counts.done, *sides)))
    console = Console()
    console.print(table)
    for stage in ledger.stages():
        if videos := ledger.sources(stage):
            _print_videos(console, stage, list(videos.values()))


def _print_videos(console: Console, stage: str, videos: list[SourceRow]) -> None:
    """Alive, gone and unsure videos, with their shares."""
    from rich.table import Table

    table = Table("videos", "reason", "count", "share", title=cell(f"videos of {stage}"))
    counts = Counter(
        (str(video.state or "pending"), str(video.reason or "") if video.state else "")
        for video in videos
    )
    for (state, reason), count in sorted(counts.items()):
        table.add_row(state, reason, str(count), f"{count / len(videos):.1%}")
    console.print(table)


Class = Annotated[
    str,
    typer.Option("--class", help=f"Only these: {', '.join(FAILURE_KINDS)}, or a reason code."),
]


@ledger_app.command()
def failures(
    stage: Annotated[str, typer.Argument(help="A stage; all of them if left out.")] = "",
    kind: Class = "",
    root: Root = None,
) -> None:
    """Name the items that failed or were dropped, why, and their source files, one per line."""
    from pipeline.execution.clip_history import SourcePaths, clip_of

    names = [find_stage(stage).name] if stage else list(STAGES)
    workspace = find_project(root)
    ledger = Ledger.existing(workspace.ledger)
    source_of = SourcePaths(workspace, ledger)
    wanted = set(failures_of(kind)) if kind else set(Reason)
    for name in names:
        for outcome in ledger.each_outcome(name, done=False):
            if outcome.reason in wanted:
                columns = [name, outcome.item, outcome.state, outcome.reason, outcome.message]
                if source := source_of(clip_of(outcome.item)):
                    columns.append(source)
                echo("\t".join(printable(str(column)) for column in columns))


@ledger_app.command()
def show(
    clip: Annotated[
        str,
        typer.Argument(help="The id of a clip, or the path of its file (or the end of the path)."),
    ],
    root: Root = None,
) -> None:
    """Say what became of one clip in every stage, why, and where its files are."""
    from pipeline.execution.clip_history import clip_history, find_clip

    workspace = find_project(root)
    ledger = Ledger.existing(workspace.ledger)
    history = clip_history(find_clip(clip, workspace, ledger), workspace, ledger)
    echo(printable(history.clip_id))
    for name, value in {"source": history.source or "unknown", **history.facts}.items():
        echo(f"  {name}: {printable(value)}")
    for entry in history.entries:
        echo(printable(f"{entry.stage}: {entry.item}: {entry.state}"))
        for line in (entry.why, entry.file):
            if line:
                echo(f"  {printable(line)}")


@ledger_app.command("retry")
def retry_command(
    stage: Annotated[str, typer.Argument(help="The stage whose failed items may run again.")],
    kind: Class = "",
    root: Root = None,
) -> None:
    """Let the next run of a stage try its failed items again; dropped ones stay dropped."""
    find_stage(stage)
    workspace = find_project(root)
    Ledger.existing(workspace.ledger)
    count = retry(stage, workspace, kind)
    echo(f"{count} item(s) of {stage} will be tried again.")


@ledger_app.command()
def check(
    deep: Annotated[bool, typer.Option("--deep", help="Compare the sha256 of all files.")] = False,
    root: Root = None,
) -> None:
    """Compare the ledger with the tables and the files; exits 1 where they do not agree."""
    from pipeline.execution.ledger_check import check_ledger

    problems = check_ledger(find_project(root), deep=deep)
    for problem in problems:
        echo(printable(problem), err=True)
    if problems:
        raise CheckError(f"the ledger and the disk differ in {len(problems)} place(s).")
    echo("the ledger, the tables and the files agree.")


@ledger_app.command()
def export(
    out: Annotated[Path, typer.Argument(help="A folder for items.parquet and sources.parquet.")],
    root: Root = None,
) -> None:
    """Write the ledger as parquet tables."""
    from pipeline.execution.ledger_export import export_ledger

    for path in export_ledger(_ledger(root), out):
        echo(path)
