import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from pipeline.execution.launch import ChildError, launch

TRAINEE = """
import argparse, sys, time
from avsep.processes import follow_parent
def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("what")
    parser.add_argument("--parent", type=int)
    arguments = parser.parse_args()
    follow_parent(arguments.parent)
    print("hello", arguments.what)
    if arguments.what == "fails":
        print("avsep: the lips are missing.", file=sys.stderr)
        sys.exit(1)
    if arguments.what == "crashes":
        raise RuntimeError("boom")
    if arguments.what == "sleeps":
        import os
        open("pid", "w").write(str(os.getpid()))
        time.sleep(60)
main()
"""


@pytest.fixture
def trainee(tmp_path, monkeypatch):
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
    while time.monotonic() < deadline:
        try:
            os.kill(child, 0)
        except ProcessLookupError:
            break
        if Path(f"/proc/{child}/stat").read_text().split()[2] == "Z":
            break
        time.sleep(0.05)
    else:
        pytest.fail("the child is still there")
