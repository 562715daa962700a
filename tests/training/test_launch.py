import errno
import json
import os
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
from pathlib import Path

import psutil
import pytest

from avsep.processes import short_temp_folder
from avsep.training.ranks import MEETING
from pipeline.execution.launch import ChildError, launch
from tests.support.processes import all_end

TRAINEE = """
import argparse, json, os, subprocess, sys, time
from avsep.processes import follow_parent
def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("what")
    parser.add_argument("--parent", type=int)
    arguments = parser.parse_args()
    follow_parent(arguments.parent)
    if arguments.what == "environment":
        print(json.dumps(dict(os.environ)))
        return
    if arguments.what == "items":
        exec(open("items.py").read())
        return
    if arguments.what == "forks":
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
        print("started")
        child.wait()
    print("hello", arguments.what)
    if arguments.what == "steps":
        print("avsep-step 1 4")
        print("avsep-step 2 4")
    if arguments.what == "fails":
        print("avsep: the lips are missing.", file=sys.stderr)
        sys.exit(1)
    if arguments.what == "crashes":
        raise RuntimeError("boom")
    if arguments.what == "sleeps":
        open("pid", "w").write(str(os.getpid()))
        time.sleep(60)
main()
"""

ITEMS = """
import hashlib
import numpy as np
from avsep.loading.augment import crop_lips
from avsep.loading.config import AugmentConfig
from avsep.loading.formants import move_formants
rng = np.random.default_rng(0)
lips = rng.integers(0, 256, (50, 96, 96)).astype(np.uint8)
voice = 0.1 * rng.standard_normal(32000, np.float32)
made = crop_lips(lips, AugmentConfig(shape=0.1), rng), move_formants(voice, 1.1)
print("item", hashlib.sha256(b"".join(one.tobytes() for one in made)).hexdigest())
"""


@pytest.fixture
def trainee(tmp_path, monkeypatch):
    (tmp_path / "items.py").write_text(ITEMS)
    (tmp_path / "trainee.py").write_text(TRAINEE)
    monkeypatch.chdir(tmp_path)
    root = Path(__file__).resolve().parents[2]
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{root}")
    return tmp_path


def test_lines_come_through(trainee):
    lines = []
    launch("trainee", ["works"], on_line=lines.append)
    assert lines == ["hello works"]


@pytest.mark.parametrize(
    ("what", "message"),
    [("fails", "the lips are missing."), ("crashes", "exit code 1: RuntimeError")],
)
def test_the_last_message_of_a_failed_child_is_kept(trainee, what, message):
    with pytest.raises(ChildError, match=message):
        launch("trainee", [what], on_line=lambda _: None)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_no_child_outlives_its_parent(trainee, number):
    code = textwrap.dedent("""
        from pipeline.execution.launch import launch
        launch("trainee", ["sleeps"])
    """)
    parent = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL)
    pid_file = trainee / "pid"
    deadline = time.monotonic() + 90
    while not (pid_file.exists() and pid_file.read_text()) and time.monotonic() < deadline:
        time.sleep(0.02)
    child = int(pid_file.read_text())
    parent.send_signal(number)
    parent.wait(90)
    assert all_end([child])


@pytest.mark.slow
def test_nothing_of_a_training_outlives_a_rank_that_was_killed(trainee):
    def on_line(line):
        lines.append(line)
        if len(lines) == 2:  # each rank has started its child
            found.extend(p for p in psutil.Process().children(recursive=True) if p not in others)
            ranks = sorted(
                (p for p in found if "trainee" in p.cmdline()), key=lambda p: p.environ()["RANK"]
            )
            ranks[1].send_signal(signal.SIGKILL)

    lines, found = [], []
    others = psutil.Process().children(recursive=True)  # pools of other tests in this process
    started = time.monotonic()
    with pytest.raises(ChildError, match="process 2 of 2 was ended by SIGKILL") as raised:
        launch("trainee", ["forks"], devices=2, on_line=on_line)
    assert raised.value.code == -signal.SIGKILL
    assert time.monotonic() - started < 30
    assert len(found) >= 4
    _, left = psutil.wait_procs(found, timeout=5)
    assert not left


@pytest.mark.slow
def test_ranks_meet_in_their_own_folder_whatever_is_around(trainee, monkeypatch):
    for name, value in {
        "MASTER_ADDR": "far.invalid", "RANK": "5", "WORLD_SIZE": "8", "NODE_RANK": "1",
        "TORCHELASTIC_RUN_ID": "x", "TMPDIR": str(trainee / ("x" * 118)),
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    (trainee / ("x" * 118)).mkdir()
    monkeypatch.setattr("tempfile.tempdir", None)
    lines = []
    launch("trainee", ["environment"], devices=2, on_line=lines.append)
    ranks = [json.loads(line) for line in sorted(lines) if line.startswith("{")]
    assert sorted(rank["RANK"] for rank in ranks) == ["0", "1"]
    for rank in ranks:
        assert rank[MEETING] == f"{rank['TMPDIR']}/ranks"
        assert rank["GLOO_SOCKET_IFNAME"] in ("lo", "lo0")
        assert rank["NCCL_SOCKET_IFNAME"] == f"={rank['GLOO_SOCKET_IFNAME']}"
        assert (rank["WORLD_SIZE"], rank["NODE_RANK"]) == ("2", "0")
        assert "TORCHELASTIC_RUN_ID" not in rank
        assert len(rank["TMPDIR"]) <= 107 - len("/pymp-12345678/listener-12345678")
        assert not Path(rank["TMPDIR"]).exists()
    launch("trainee", ["environment"], devices=1, on_line=lines.append)
    assert json.loads(lines[-1])["WORLD_SIZE"] == "1"


@pytest.mark.slow
@pytest.mark.parametrize("devices", [1, 2])
def test_items_do_not_depend_on_the_number_of_devices(trainee, devices):
    # The sums of numpy's products of matrices depend on the threads that share them.
    lines: list[str] = []
    launch("trainee", ["items"], devices=devices, on_line=lines.append)
    with_one_thread = subprocess.run(
        [sys.executable, "-c", ITEMS], capture_output=True, text=True, check=True,
        env=os.environ | {"OPENBLAS_NUM_THREADS": "1"},
    )  # fmt: skip
    assert {line for line in lines if line.startswith("item ")} == {with_one_thread.stdout.strip()}


def test_a_wait_for_the_ranks_is_said(trainee, monkeypatch):
    monkeypatch.setattr("pipeline.execution.launch.WAITING_EVERY_S", 0.0)
    monkeypatch.setattr("pipeline.execution.launch.POLL_S", 0.001)  # sooner than Python starts
    lines = []
    launch("trainee", ["works"], on_line=lines.append)
    assert lines[0].startswith("waiting for the training to start, ")


def test_steps_are_told_and_not_shown(trainee):
    lines, steps = [], []
    launch("trainee", ["steps"], on_line=lines.append, on_step=lambda *step: steps.append(step))
    assert lines == ["hello steps"]
    assert steps == [(1, 4), (2, 4)]


def test_ranks_meet_on_a_disk_that_knows_locks(monkeypatch):
    usual = Path(tempfile.gettempdir())
    places = []

    def no_locks(descriptor: int, _how: int) -> None:
        places.append(Path(f"/proc/self/fd/{descriptor}").resolve().parent)
        if places[-1].parent in (usual, Path("/tmp")):
            raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr("fcntl.flock", no_locks)
    with short_temp_folder(locks=True) as folder:
        assert folder == places[-1]
        assert folder.parent not in (usual, Path("/tmp"))
        assert not any(place.exists() for place in places[:-1])
        assert not list(folder.iterdir())
    with short_temp_folder() as folder:
        assert folder.parent == usual
