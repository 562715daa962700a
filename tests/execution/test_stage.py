import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from avsep.errors import CheckError, ItemError, Reason
from avsep.outcome import Counts, Outcome
from avsep.processes import close_pools, map_items
from avsep.workspace import Workspace
from pipeline.execution.stage import Batch, Stage, StageReport, run_stage
from tests.support.processes import LIMIT_S, all_end

TOO_LONG_S = 600


def _work(item: str) -> str:
    if item.startswith("die"):
        os.kill(os.getpid(), signal.SIGKILL)
    if item.startswith("sleep"):
        time.sleep(TOO_LONG_S)
    if item.startswith("drop"):
        raise ItemError(Reason.SILENT, "quiet")
    if item.startswith("bug"):
        raise ZeroDivisionError("a bug")
    return item.upper()


@pytest.fixture(autouse=True)
def _no_pools_left():
    yield
    close_pools()


def _reasons(items, **settings):
    results = dict(map_items(_work, items, **settings))
    assert set(results) == set(items), "every item ends exactly once"
    return {
        item: result.reason if isinstance(result, ItemError) else result
        for item, result in results.items()
    }


@pytest.mark.slow
def test_one_bad_item_harms_no_other():
    items = ["a", "die1", "b", "drop", "c", "bug", "die2", "d"]
    assert _reasons(items, workers=2, timeout_s=60) == {
        "a": "A",
        "b": "B",
        "c": "C",
        "d": "D",
        "die1": Reason.WORKER_DIED,
        "die2": Reason.WORKER_DIED,
        "drop": Reason.SILENT,
        "bug": Reason.INTERNAL,
    }


@pytest.mark.slow
def test_an_item_that_hangs_is_given_up_and_the_rest_goes_on():
    # The limit must leave a spawned worker time to start.
    results = _reasons(["a", "sleep", "b"], workers=2, timeout_s=8)
    assert results == {"a": "A", "b": "B", "sleep": Reason.TIMED_OUT}


def test_without_workers_everything_runs_here():
    assert _reasons(["a", "drop", "bug"], workers=0, timeout_s=1) == {
        "a": "A",
        "drop": Reason.SILENT,
        "bug": Reason.INTERNAL,
    }


@pytest.mark.slow
def test_workers_do_not_outlive_a_killed_parent(tmp_path: Path):
    marker = tmp_path / "pid"
    code = (
        "import sys, tests.execution.test_stage as t\n"
        "from avsep.processes import map_items\n"
        "list(map_items(t._note_pid_and_sleep, [sys.argv[1]], workers=1, timeout_s=600))"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", code, str(marker)],
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
    )
    deadline = time.monotonic() + LIMIT_S
    while not marker.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    worker = int(marker.read_text())
    parent.kill()
    parent.wait()
    assert all_end([worker])


def _note_pid_and_sleep(path: str) -> None:
    temporary = Path(path + ".tmp")
    temporary.write_text(str(os.getpid()))
    temporary.rename(path)
    time.sleep(TOO_LONG_S)


def test_a_stage_fails_only_above_the_set_share(tmp_path: Path):
    ended = [
        *(Outcome.done(f"{i}") for i in range(9)),
        Outcome.ended("9", Reason.TIMED_OUT, "slow"),
    ]
    batch = Batch(name="all", items=tuple(outcome.item for outcome in ended))
    stage = Stage(
        "clean",
        SimpleNamespace,
        plan=lambda config, workspace: [batch],
        work=lambda config, workspace, batch, progress: ended,
        finish=lambda config, workspace, batches, outcomes: StageReport(
            stage="clean", counts=Counts.of(outcomes)
        ),
    )
    workspace = Workspace(tmp_path)
    report = run_stage(stage, SimpleNamespace(max_failed_share=0.1), workspace)
    assert (report.counts.done, report.counts.failed.total()) == (9, 1)
    with pytest.raises(CheckError, match="1 of 10 items failed"):
        run_stage(stage, SimpleNamespace(max_failed_share=0.05), workspace)
