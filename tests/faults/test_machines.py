"""Odd machines: no home, no temporary folder, few files, a clock that jumps, no assertions."""

import os
import resource
import subprocess
import sys
import time
from pathlib import Path

import pytest

from avsep.errors import Reason
from avsep.outcome import Outcome
from pipeline.execution.ledger import Ledger
from tests.support.synthetic_workspace import make_workspace

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    workspace = make_workspace(tmp_path_factory.mktemp("project"), num_frames=25)
    (workspace.root / "params.yaml").write_text("{}\n")
    Ledger(workspace.ledger).record("clean", [Outcome.ended("a", Reason.SILENT, "x")])
    return workspace


def run(*words, cwd, python=(), limit=None, **changes):
    """A command on a machine with another environment; None takes a variable away."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)} | changes
    return subprocess.run(
        [sys.executable, *python, "-m", "avsep", *words],
        cwd=cwd, capture_output=True, text=True, check=False, timeout=300,
        env={name: value for name, value in environment.items() if value is not None},
        preexec_fn=None if limit is None else limit,
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(
    "words", [["verify", "data/shards"], ["ledger", "failures"], ["weights", "list"], ["results"]],
    ids=" ".join,
)  # fmt: skip
def test_commands_need_no_home_no_temporary_folder_and_no_assertions(project, words):
    usual = run(*words, cwd=project.root, AVSEP_WEIGHTS="nowhere")
    bare = run(
        *words, cwd=project.root, python=["-O"], AVSEP_WEIGHTS="nowhere",
        HOME=None, TMPDIR="/nonexistent", USER=None, LANG=None, LC_ALL=None, TERM=None,
    )  # fmt: skip
    assert (bare.returncode, bare.stderr) == (0, "")
    assert bare.stdout == usual.stdout


@pytest.mark.slow
def test_a_command_with_few_files_works_or_says_so(project):
    def few():
        resource.setrlimit(resource.RLIMIT_NOFILE, (8, 8))

    done = run("verify", "--deep", "data/shards", cwd=project.root, limit=few)
    assert "Traceback" not in done.stderr, done.stderr
    assert done.returncode in (0, 1)
    assert done.stderr.startswith("avsep: ") or not done.stderr


def test_a_clock_that_jumps_back_changes_nothing(tmp_path, monkeypatch):
    ledger = Ledger(tmp_path / "ledger.sqlite")
    ledger.record("clean", [Outcome.ended("a", Reason.TIMED_OUT, "x")])
    monkeypatch.setattr(time, "time", lambda: 0.0)
    ledger.record("clean", [Outcome.done("a", seconds=1.0)])
    assert ledger.outcomes("clean")["a"].attempts == 2
    assert ledger.counts("clean").done == 1
