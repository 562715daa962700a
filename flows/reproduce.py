"""The weekly flow: `dvc repro` of everything, then `dvc push` where there is a remote."""

from __future__ import annotations

from pathlib import Path

from prefect import flow
from prefect.artifacts import create_table_artifact

from avsep.workspace import Workspace
from flows.dvc import has_remote, ledger_rows, metric_rows, one_at_a_time, run_dvc
from flows.engine import children_end_first


@flow(name="reproduce", persist_result=False)
def reproduce(root: str = ".", target: str = "", push: bool = True) -> None:
    """Reproduce all stages, or those up to `target`, and push what they made."""
    workspace = Workspace(Path(root).resolve())
    with children_end_first(), one_at_a_time(workspace):
        run_dvc(workspace, "repro", *([target] if target else []))
        if push and has_remote(workspace):
            run_dvc(workspace, "push")
    create_table_artifact(
        key="reproduce-summary", table=ledger_rows(workspace), description="How every item ended."
    )
    if metrics := metric_rows(workspace):
        create_table_artifact(
            key="reproduce-metrics", table=metrics, description="What the models reach."
        )
