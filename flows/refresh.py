"""The nightly flow: look for new raw clips, and bring shards and mixtures up to date.

`download` is forced, since DVC cannot see that a corpus has grown; the rest runs only where
something has changed. `dvc repro` does it all, so that `dvc.lock` stays true.
"""

from __future__ import annotations

from pathlib import Path

from prefect import flow
from prefect.artifacts import create_table_artifact

from avsep.workspace import Workspace
from flows.dvc import ledger_rows, one_at_a_time, run_dvc
from flows.engine import children_end_first


@flow(name="refresh", persist_result=False)
def refresh(root: str = ".") -> None:
    """Run `download` again, then what follows from it up to `mix`."""
    workspace = Workspace(Path(root).resolve())
    with children_end_first(), one_at_a_time(workspace):
        run_dvc(workspace, "repro", "--force", "--single-item", "download")
        run_dvc(workspace, "repro", "mix")
    create_table_artifact(
        key="refresh-summary", table=ledger_rows(workspace), description="How every item ended."
    )
