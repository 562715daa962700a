"""Whatever is struck of a stage, whenever: the same command ends with the same bytes.

Run by `make test-faults SEEDS=20`; prints one line per stage and kind of command. Per stage and
seed all victims are struck, one after the other, in one project; where a command ended all the
same, its result is compared, and the next one is struck in a new project.
"""

import contextlib
import os
import random
import signal
import sqlite3
import time
from collections import Counter
from pathlib import Path

import pytest

from avsep.workspace import Workspace
from tests.support.strikes import run_to_its_end, started
from tests.support.tiny_project import STAGES, command

SEEDS = int(os.environ.get("AVSEP_FAULT_SEEDS", "1"))
FIRST = int(os.environ.get("AVSEP_FAULT_FIRST_SEED", "0"))
ASKED = {"Ctrl-C": signal.SIGINT, "SIGTERM": signal.SIGTERM}
END_S = 30.0  # of a command that was asked to end; 5 s on an idle machine
EARLY = 0.1  # share of the strikes that come before the stage begins its work
BELOW = {"pretrain": ["rank", "loader"], "train": ["rank", "loader"], "report": []}


def victims(stage: str, how: str) -> list[str]:
    below = BELOW.get(stage, ["worker"])
    return ["main", "group", *below, *(["flow"] if how == "dvc" else []), *ASKED]


@pytest.fixture(scope="module")
def tally():
    """How often each victim was struck, and the longest time to the end of what was asked."""
    counts, slowest = Counter(), {}
    yield counts, slowest
    for stage, how in dict.fromkeys(key[:2] for key in counts):
        struck = {one: counts[stage, how, one] for one in [*victims(stage, how), "ended before"]}
        last = slowest.get((stage, how), 0.0)
        print(f"\n{how} {stage}: survived {struck}; asked: ended within {last:.1f} s", end="")


@pytest.mark.parametrize("seed", range(FIRST, FIRST + SEEDS))
@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("how", ["run", "flow", "dvc"])
def test_a_stage_that_is_struck_ends_the_same(unbroken, tally, tmp_path, request, how, stage, seed):
    more = {} if how == "run" else request.getfixturevalue("server")
    rng = random.Random(f"{stage} {how} {seed}")
    unbroken.result(stage)
    counts, slowest = tally
    root, struck = None, []
    for number, victim in enumerate(rng.sample(every := victims(stage, how), k=len(every))):
        if root is None:
            root = unbroken.copy_before(stage, tmp_path / f"project{number}")
        with started(command(stage, root, how), root, **more) as running:
            # What a loading `dvc` says of Ctrl-C is its own.
            if rng.random() < EARLY and not (how == "dvc" and victim in ASKED):
                running.wait(rng.uniform(0.0, 3.0))
            else:
                running.wait_for_work()
                begun = time.monotonic()
                running.wait(rng.uniform(0.0, 0.9) * unbroken.seconds[stage])
                if running.is_over():  # the machine has become faster
                    unbroken.seconds[stage] = time.monotonic() - begun
            struck.append(victim if running.strike(victim, rng) else "ended before")
            asked = time.monotonic()
            said = running.end()
            took = time.monotonic() - asked
            code = running.process.returncode
            assert not running.left(), (victim, said)
        check_end(struck[-1], how, code, said)
        if struck[-1] in ASKED:
            assert took < END_S
            slowest[stage, how] = max(took, slowest.get((stage, how), 0.0))
        check_database(Workspace(root).ledger)
        if code == 0:
            unbroken.assert_same(root, stage)
            root = None
    if root is not None:
        run_to_its_end(command(stage, root, how), root, **more)
        unbroken.assert_same(root, stage)
    counts.update((stage, how, one) for one in struck)


def check_end(victim: str, how: str, code: int, said: str) -> None:
    """It ended as it should, and in words."""
    assert "Traceback" not in said, (victim, said)
    if victim in ("ended before", "worker"):
        assert code == 0, (victim, said)
    if victim in ASKED and how != "dvc":  # which has codes of its own
        number = ASKED[victim]
        # By the signal itself: it had not begun, or its work was done.
        assert code in (0, 128 + number, -number), (victim, code, said)
    if code > 0:
        lines = said.strip().splitlines()
        if how == "dvc":  # which says itself that its stage was killed, or that it was interrupted
            assert any(line.startswith(("avsep: ", "ERROR: ")) for line in lines), (victim, said)
        else:
            assert lines[-1].startswith("avsep: "), (victim, said)


def check_database(path: Path) -> None:
    if path.exists():
        with contextlib.closing(sqlite3.connect(path)) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
