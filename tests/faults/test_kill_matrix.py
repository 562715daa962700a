"""Whatever is killed of a stage, whenever: the same command ends with the same bytes.

Run by `make test-faults SEEDS=20`; prints one line per stage.
"""

import contextlib
import os
import random
import shutil
import signal
import subprocess
import time
from collections import Counter

import psutil
import pytest

from avsep.workspace import Workspace
from pipeline.execution.ledger import Ledger
from pipeline.execution.ledger_check import check_ledger
from tests.support.tiny_project import STAGES, Unbroken, command, environment, published

SEEDS = int(os.environ.get("AVSEP_FAULT_SEEDS", "1"))
VICTIMS = ("main", "group", "worker", "SIGINT", "SIGTERM")
LIMIT_S = 300
END_S = 5.0  # for a process that was asked to end, on an idle machine
BUSY = 6.0  # how much slower this one may be


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    return Unbroken(tmp_path_factory.mktemp("unbroken"))


@pytest.fixture(scope="module")
def tally():
    counts = Counter()
    yield counts
    for stage in STAGES:
        ended = {how: n for (name, how), n in counts.items() if name == stage}
        print(f"\n{stage}: {sum(ended.values())} tried: {ended}", end="")


@pytest.mark.parametrize("seed", range(SEEDS))
@pytest.mark.parametrize("victim", VICTIMS)
@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_that_is_killed_ends_the_same(unbroken, tally, tmp_path, stage, victim, seed):
    rng = random.Random(f"{stage} {victim} {seed}")
    wanted = unbroken.result(stage)
    root = tmp_path / "project"
    shutil.copytree(unbroken.before(stage), root, symlinks=True)
    process = subprocess.Popen(
        command(stage, root), env=environment(), text=True, start_new_session=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    started = time.monotonic()
    until = started + rng.uniform(0.3, 0.95) * unbroken.seconds[stage]
    while process.poll() is None and time.monotonic() < until:
        time.sleep(0.02)
    if process.poll() is not None:  # the first run of all has compiled what the others find
        unbroken.seconds[stage] = time.monotonic() - started
    below = _below(process.pid)
    tally[stage, _strike(process, below, victim, rng)] += 1
    asked = time.monotonic()
    said, _ = process.communicate(timeout=LIMIT_S)
    assert "Traceback" not in said, said
    if victim.startswith("SIG") and process.returncode:
        number = signal.Signals[victim]
        assert process.returncode in (128 + number, -number), (
            said
        )  # the latter before and after its work
        assert time.monotonic() - asked < BUSY * END_S
        if process.returncode > 0:
            assert said.strip().splitlines()[-1].startswith("avsep: "), said
    _, alive = psutil.wait_procs(below, timeout=30)
    assert not [one for one in alive if one.status() != psutil.STATUS_ZOMBIE]
    again = subprocess.run(
        command(stage, root), env=environment(), capture_output=True, text=True, check=False
    )
    assert again.returncode == 0, again.stderr
    assert published(root, stage) == wanted
    workspace = Workspace(root)
    assert not [path for path in workspace.data.rglob("*") if ".tmp" in path.name]
    counts = Ledger(workspace.ledger).counts(stage)
    assert counts.done
    assert not counts.failed
    assert check_ledger(workspace, deep=True) == []


def _below(pid: int) -> list[psutil.Process]:
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def _strike(process, below, victim, rng) -> str:
    """Kill it, or ask it to end; returns what was done."""
    if process.poll() is not None:
        return "ended before"
    if victim == "worker":
        if not below:
            return "no worker yet"
        with contextlib.suppress(psutil.NoSuchProcess):
            rng.choice(below).kill()
    elif victim == "group":
        os.killpg(process.pid, signal.SIGKILL)
    else:
        process.send_signal(signal.SIGKILL if victim == "main" else signal.Signals[victim])
    return victim
