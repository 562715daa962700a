"""The eight stages as Prefect flows; `python -m flows.stages extract` runs one."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from pathlib import Path

from prefect.settings import temporary_settings

from avsep.cli.results import show_results
from avsep.errors import AvsepError, disk_fault, printable
from avsep.models.registry import MODELS
from avsep.terminal import echo, echo_wrapped, set_up_streams
from avsep.workspace import Workspace
from flows.engine import stage_flow
from flows.processes import end_with_dvc
from flows.server import api_settings, check_api
from pipeline.disk import full_disk
from pipeline.stages import STAGES
from pipeline.steps import heading

RESULTS_FOLLOW = "AVSEP_RESULTS_FOLLOW"  # set by `make demo`, which shows the results itself

FLOWS = {name: stage_flow(name) for name in STAGES}

# By name, for the entry points of deployments.
download, clean, extract, mix = (FLOWS[name] for name in ("download", "clean", "extract", "mix"))
pretrain, train = FLOWS["pretrain"], FLOWS["train"]
evaluate, report = FLOWS["evaluate"], FLOWS["report"]


def main() -> None:
    """Run one stage; exits 0, 1 (failed), 2 (bad use) or 130 (interrupted)."""
    parser = argparse.ArgumentParser(prog="python -m flows.stages", description=__doc__)
    parser.add_argument("stage", choices=list(STAGES))
    parser.add_argument("--root", default=".", help="the project folder")
    parser.add_argument("--model", default="", choices=list(MODELS), help="for train and evaluate")
    given = parser.parse_args()
    if STAGES[given.stage].per_model != bool(given.model):
        verb = "needs" if STAGES[given.stage].per_model else "takes no"
        parser.error(f"{given.stage} {verb} --model")
    workspace = Workspace(Path(given.root).resolve())
    state_dir = workspace.work("prefect")
    logging.getLogger("prefect").setLevel(logging.CRITICAL)
    set_up_streams()
    end_with_dvc()
    echo(heading(STAGES[given.stage], given.model))
    try:
        with temporary_settings(updates=api_settings(state_dir)):
            check_api()
            done = FLOWS[given.stage](root=given.root, model=given.model)
    except AvsepError as error:
        echo(f"avsep: {printable(str(error))}", err=True)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        echo(f"avsep: {given.stage} was interrupted; run it again to go on.", err=True)
        sys.exit(130)
    except Exception as error:
        fault = disk_fault(error) or full_disk(state_dir)
        if not (fault or isinstance(error, OSError)):
            raise
        echo(f"avsep: {printable(fault or str(error))}; run it again to go on.", err=True)
        sys.exit(1)
    echo_wrapped(done.sentence())
    if given.stage == report.name and not os.environ.get(RESULTS_FOLLOW):
        show_results(workspace)


if __name__ == "__main__":
    main()
