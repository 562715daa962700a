"""The eight stages as Prefect flows; `python -m flows.stages extract` runs one."""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import NoReturn

from flows.processes import end_with_dvc

if __name__ == "__main__":
    end_with_dvc()  # now: its `dvc` may go in the seconds that Prefect takes to load

import httpx

from avsep.cli.results import show_results
from avsep.errors import AvsepError, disk_fault, printable
from avsep.interrupts import dropped_interrupts_come_again, keep_exit_code
from avsep.large_imports import large_imports
from avsep.models.registry import MODELS
from avsep.terminal import echo, echo_wrapped, set_up_streams
from avsep.workspace import Workspace
from pipeline.disk import full_disk
from pipeline.stages import STAGES
from pipeline.steps import heading

with large_imports():
    from prefect.settings import temporary_settings

    from flows.engine import ENDED, asked, stage_flow
    from flows.server import api_settings, check_api

# Ctrl-C may end this process at once while it loads and after its end; not where it is ignored.
_OURS = __name__ == "__main__" and signal.getsignal(signal.SIGINT) is signal.SIG_DFL
RESULTS_FOLLOW = "AVSEP_RESULTS_FOLLOW"  # set by `make demo`, which shows the results itself

FLOWS = {name: stage_flow(name) for name in STAGES}

# By name, for the entry points of deployments.
download, clean, extract, mix = (FLOWS[name] for name in ("download", "clean", "extract", "mix"))
pretrain, train = FLOWS["pretrain"], FLOWS["train"]
evaluate, report = FLOWS["evaluate"], FLOWS["report"]


def main() -> None:
    """Run one stage; exits 0, 1 (failed), 2 (bad use), 130 (interrupted) or 143 (SIGTERM)."""
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
    echo(heading(STAGES[given.stage], given.model))
    try:
        with (
            _signals_raise(),
            dropped_interrupts_come_again(),
            temporary_settings(updates=api_settings(state_dir)),
        ):
            check_api()
            done = FLOWS[given.stage](root=given.root, model=given.model)
    except AvsepError as error:
        echo(f"avsep: {printable(str(error))}", err=True)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        _end(asked[-1] if asked else signal.SIGINT)
    except Exception as error:
        if asked:  # modules in C make an ImportError of it while they load
            _end(asked[-1])
        fault = disk_fault(error) or full_disk(state_dir)
        if not fault and isinstance(error, httpx.HTTPError):
            fault = f"the Prefect server has gone ({error}); what is finished is kept"
        if not (fault or isinstance(error, OSError)):
            raise
        echo(f"avsep: {printable(fault or str(error))}; run it again to go on.", err=True)
        sys.exit(1)
    echo_wrapped(done.sentence())
    if given.stage == report.name and not os.environ.get(RESULTS_FOLLOW):
        show_results(workspace)


@contextlib.contextmanager
def _signals_raise() -> Iterator[None]:
    """Let Ctrl-C and SIGTERM end the block in order, and the process at once after it."""
    if _OURS:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, _end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        if _OURS:
            signal.signal(signal.SIGINT, signal.SIG_DFL)


def _end(number: int, _frame: FrameType | None = None) -> NoReturn:
    """Exit as a signal asks; SIGTERM comes again when Prefect has written down that it came."""
    echo(ENDED, err=True)
    keep_exit_code()
    sys.exit(128 + number)


if __name__ == "__main__":
    main()
