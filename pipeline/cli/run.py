"""`avsep run`: one stage, without Prefect and DVC."""

from __future__ import annotations

from typing import Annotated

import typer

from avsep.cli.options import Root
from avsep.cli.results import show_results
from avsep.errors import CheckError, UsageError
from avsep.models.registry import MODELS
from avsep.progress import show_progress
from avsep.terminal import echo, echo_wrapped
from avsep.workspace import PARAMS, Workspace, find_project
from pipeline.config import find_stage, for_model, load_configs
from pipeline.execution import training_run
from pipeline.execution.launch import ChildError, launch
from pipeline.execution.stage import Stage, run_stage
from pipeline.stages import STAGES
from pipeline.stages.report import NAME as REPORT
from pipeline.steps import heading

FINDS = ("lr", "batch")


def run(
    stage: Annotated[str, typer.Argument(help=", ".join(STAGES))],
    model: Annotated[str, typer.Option(help=f"For train and evaluate: {', '.join(MODELS)}.")] = "",
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Try the items again that failed.")
    ] = False,
    restart: Annotated[
        bool, typer.Option("--restart", help="For pretrain and train: move the old run aside.")
    ] = False,
    find: Annotated[
        str, typer.Option(help="For pretrain and train, instead: find a rate (lr) or a batch.")
    ] = "",
    root: Root = None,
) -> None:
    """Run one stage here, without Prefect and DVC."""
    found = find_stage(stage)
    workspace = find_project(root)
    config = for_model(found, load_configs(workspace.root / PARAMS)[stage], model)
    if find:
        if retry_failed or restart:
            raise UsageError("--find trains nothing; leave out --retry-failed and --restart.")
        _find(found, model, find, workspace)
        return
    if restart:
        if not found.resumes:
            raise UsageError(f"--restart is for pretrain and train, not for {stage}.")
        for batch in found.plan(config, workspace):
            if place := training_run.restart(workspace, stage, batch):
                echo(f"the old run of {batch.name} is in {place}")
    echo(heading(found, model))
    report = run_stage(found, config, workspace, progress=show_progress, retry_failed=retry_failed)
    echo_wrapped(report.sentence())
    if stage == REPORT:
        show_results(workspace)


def _find(stage: Stage, model: str, what: str, workspace: Workspace) -> None:
    if not stage.resumes:
        raise UsageError(f"--find is for pretrain and train, not for {stage.name}.")
    if what not in FINDS:
        raise UsageError(f"--find is {what!r}; it may be {' or '.join(FINDS)}.")
    named = ["--model", model] if model else []
    arguments = [stage.name, "--root", str(workspace.root), *named, "--find", what]
    try:
        launch(training_run.CHILD, arguments, on_line=echo)
    except ChildError as error:
        raise CheckError(f"--find {what} failed: {error.message}") from error
