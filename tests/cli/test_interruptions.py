"""Ctrl-C, SIGTERM and SIGHUP: one sentence, one exit code, whenever they come."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import weakref
from pathlib import Path

import pytest

from avsep.cli import entry

ROOT = Path(__file__).parents[2]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "TERM": "dumb"}


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signals_interrupt_a_command(tmp_path, number):
    child = endless(tmp_path)
    child.send_signal(number)
    _, err = child.communicate(timeout=60)
    assert child.returncode == 128 + number, err
    assert err == "avsep: interrupted.\n"
    assert not (tmp_path / "unfinished").exists()


def test_ctrl_c_while_the_command_loads_ends_it_without_a_traceback():
    code = """
import os, signal, sys

class Pressed:
    def find_spec(self, name, *_):
        if name == "avsep.cli.entry":
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Pressed())
from avsep.cli import main
main()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (-signal.SIGINT, "")


PRESSED_WHILE_A_DATACLASS_IS_MADE = {
    "avsep": """
from avsep.cli import entry
entry.app = lambda **_: exec(pressed)
entry.main()
""",
    "flows.stages": """
from flows import stages
stages._OURS = True
stages.api_settings = lambda _: {}
stages.check_api = lambda: exec(pressed)
sys.argv[1:] = ["mix"]
stages.main()
""",
    "a rank": """
from pipeline.execution.launch import exit_code
sys.exit(exit_code(lambda: exec(pressed)))
""",
}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("process", "number"),
    [
        *(("avsep", number) for number in (signal.SIGINT, signal.SIGTERM)),
        *(("flows.stages", number) for number in (signal.SIGINT, signal.SIGTERM)),
        ("a rank", signal.SIGINT),  # SIGTERM ends it at once
    ],
)
def test_an_interruption_within_an_exec_has_the_exit_code_of_all(tmp_path, process, number):
    """Python would end `python -m` by SIGINT then."""
    pressed = f"import os, time; os.kill(os.getpid(), {int(number)}); time.sleep(60)"
    (tmp_path / "pressing.py").write_text(
        f"import sys\npressed = {pressed!r}\n" + PRESSED_WHILE_A_DATACLASS_IS_MADE[process]
    )
    done = subprocess.run(
        [sys.executable, "-m", "pressing"],
        cwd=tmp_path, capture_output=True, text=True, env=ENVIRONMENT,
    )  # fmt: skip
    assert done.returncode == 128 + number, done.stderr
    assert done.stderr.splitlines()[-1].startswith("avsep: ")
    assert "Traceback" not in done.stderr


PRESSED_WHILE_IT_LOADS = """
import os, signal, sys

class Pressed:
    def find_spec(self, name, *_):
        if name == os.environ["PRESSED_AT"]:
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Pressed())
"""


@pytest.mark.parametrize("program", ["stages", "side_by_side", "local_server"])
@pytest.mark.parametrize("pressed_at", ["flows.loopback", "flows.processes", "argparse"])
def test_ctrl_c_while_a_program_loads_ends_it_without_a_traceback(tmp_path, program, pressed_at):
    (tmp_path / "sitecustomize.py").write_text(PRESSED_WHILE_IT_LOADS)
    done = subprocess.run(
        [sys.executable, "-m", f"flows.{program}", "up"],
        capture_output=True, text=True, cwd=tmp_path,
        env=ENVIRONMENT | {"PYTHONPATH": f"{tmp_path}:{ROOT}", "PRESSED_AT": pressed_at},
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (-signal.SIGINT, "")


PRESSED_AT_THE_END = """
import atexit, os, runpy, signal, sys
module = sys.argv[1]
sys.argv[:] = ["-m", "--help"]  # as Python sets it
atexit.register(os.kill, os.getpid(), signal.SIGINT)
runpy.run_module(module, run_name="__main__")
"""


@pytest.mark.slow
@pytest.mark.parametrize("module", ["avsep", "flows.stages"])
def test_ctrl_c_after_the_end_of_a_command_gives_no_traceback(module):
    """A person who has pressed once and waits presses again."""
    words = [sys.executable, "-c", PRESSED_AT_THE_END, module]
    done = subprocess.run(words, capture_output=True, text=True, env=ENVIRONMENT)
    assert (done.returncode, done.stderr) == (-signal.SIGINT, "")
    assert "--help" in done.stdout


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_that_a_module_hides_is_one(monkeypatch, capsys, number):
    """Modules in C make an ImportError of a signal that comes while they load."""

    def hides(**_):
        try:
            os.kill(os.getpid(), number)
            time.sleep(60)
        except KeyboardInterrupt as error:
            raise ImportError("initialization failed") from error

    monkeypatch.setattr(entry, "app", hides)
    with pytest.raises(SystemExit) as ended:
        entry.main()
    assert ended.value.code == 128 + number
    assert capsys.readouterr().err == "avsep: interrupted.\n"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_that_python_drops_comes_again(monkeypatch, capsys, number):
    def drops(**_):
        thing = set()
        kept = weakref.ref(thing, lambda _: (os.kill(os.getpid(), number), time.sleep(60)))
        del thing  # calls back
        assert kept() is None
        time.sleep(60)

    monkeypatch.setattr(entry, "app", drops)
    begun = time.monotonic()
    with pytest.raises(SystemExit) as ended:
        entry.main()
    assert ended.value.code == 128 + number
    assert capsys.readouterr().err == "avsep: interrupted.\n"
    assert time.monotonic() - begun < 30


@pytest.mark.slow
def test_an_ignored_signal_stays_ignored(tmp_path):
    child = endless(tmp_path, prefix="import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN)")
    child.send_signal(signal.SIGHUP)
    time.sleep(0.5)
    assert child.poll() is None
    child.terminate()
    child.communicate(timeout=60)
    assert child.returncode == 143


def endless(folder: Path, prefix: str = "") -> subprocess.Popen[str]:
    """A command that has begun to write a file, which it removes when it is interrupted."""
    code = f"""
{prefix}
import sys, time
from pathlib import Path
from avsep.cli import main
from avsep.cli.app import app

@app.command()
def endless():
    path = Path({str(folder / "unfinished")!r})
    path.touch()
    try:
        print("ready", flush=True)
        time.sleep(100)
    finally:
        path.unlink()

sys.argv = ["avsep", "endless"]
main()
"""
    child = subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=ENVIRONMENT,
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "ready\n"
    return child
