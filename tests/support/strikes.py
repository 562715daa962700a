"""Striking a command at a random moment of its work, and finding what is left of it."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from tests.support.tiny_project import ROOT, environment, last_turn

MARK = "AVSEP_TEST_RUN"  # all processes of a run inherit it, whoever their parent is by then
START_S = 300.0  # until a stage begins its work, on a busy machine
ENDS_S = 60.0  # until what was below a killed process has ended
POLL_S = 0.02
ROLES = ("worker", "rank", "loader", "flow", "server")  # of what is found below a command


@dataclass
class Running:
    """A command in a project, which leads a session of its own.

    Attributes:
        process: the command.
        root: the project.
        temp: its temporary folder.
        mark: what its processes are known by.
        turn: when a stage had last begun its work in the project before.
    """

    process: subprocess.Popen[str]
    root: Path
    temp: Path
    mark: str
    turn: int

    def is_over(self) -> bool:
        """Whether the command has ended."""
        return self.process.poll() is not None

    def wait_for_work(self) -> None:
        """Wait until its stage begins to work, or until its end."""
        deadline = time.monotonic() + START_S
        while last_turn(self.root) == self.turn and not self.is_over():
            assert time.monotonic() < deadline, "it does not begin"
            time.sleep(POLL_S)

    def wait(self, seconds: float) -> None:
        """Wait some seconds, or until its end."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(seconds)

    def strike(self, victim: str, rng: random.Random) -> bool:
        """Kill a process, or ask the command to end; False where it had ended before.

        Args:
            victim: `main` is the command; `group` is all that a terminal would reach, which
                `Ctrl-C` asks to end; `SIGTERM` asks the command; others are found below it.
            rng: chooses among several.
        """
        pid = self._find(victim, rng)
        number = {"Ctrl-C": signal.SIGINT, "SIGTERM": signal.SIGTERM}.get(victim, signal.SIGKILL)
        if self.is_over():
            return False
        with contextlib.suppress(ProcessLookupError):
            (os.killpg if victim in ("group", "Ctrl-C") else os.kill)(pid, number)
        return True

    def _find(self, victim: str, rng: random.Random) -> int:
        while victim in ROLES and not self.is_over():
            found = [process.pid for process in self.below() if _role(process) == victim]
            if found:
                return rng.choice(sorted(found))
            time.sleep(5 * POLL_S)
        return self.process.pid

    def below(self) -> list[psutil.Process]:
        """All that it has started and that has not ended, in whatever session."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                marked = process.environ().get(MARK) == self.mark
                if marked and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
        return [process for process in found if process.pid != self.process.pid]

    def end(self, limit: float = 600.0) -> str:
        """Wait for its end; what it said."""
        return self.process.communicate(timeout=limit)[0]

    def left(self) -> list[str]:
        """The processes that have not ended long after the command has."""
        deadline = time.monotonic() + ENDS_S
        while (found := self.below()) and time.monotonic() < deadline:
            time.sleep(5 * POLL_S)
        return [" ".join(_words(process)) for process in found]


@contextlib.contextmanager
def started(words: list[str], root: Path, **changes: str) -> Iterator[Running]:
    """Start a command in a project; nothing of it outlives the block."""
    mark = uuid.uuid4().hex
    temp = Path(tempfile.mkdtemp(prefix="k-", dir="/tmp"))  # short, for the sockets in it
    turn = last_turn(root)
    process = subprocess.Popen(
        words, cwd=root, text=True, start_new_session=True, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        env=environment(**{"TMPDIR": str(temp), MARK: mark} | changes),
    )  # fmt: skip
    running = Running(process, root, temp, mark, turn)
    try:
        yield running
    finally:
        process.kill()
        for one in running.below():
            with contextlib.suppress(psutil.Error):
                one.kill()
        process.communicate(timeout=60)
        shutil.rmtree(temp, ignore_errors=True)


def run_to_its_end(words: list[str], root: Path, **changes: str) -> str:
    """Run a command, which must succeed and leave neither a process nor a temporary folder."""
    with started(words, root, **changes) as running:
        said = running.end()
        assert running.process.returncode == 0, said
        assert "Traceback" not in said, said
        assert not running.left(), said
        assert not list(running.temp.glob("avsep-*")), said
    return said


def bad_machine(**faults: Any) -> dict[str, str]:
    """The variables of a command whose processes run on a bad machine, see `bad_machine/`."""
    path = f"{Path(__file__).parent / 'bad_machine'}{os.pathsep}{ROOT}"
    return {"PYTHONPATH": path, "AVSEP_BAD_MACHINE": json.dumps(faults)}


def _words(process: psutil.Process | None) -> list[str]:
    with contextlib.suppress(psutil.Error):
        return [] if process is None else process.cmdline()
    return []


def _role(process: psutil.Process) -> str:
    words = _words(process)
    if "pipeline.train" in words:  # a loader is a fork of its rank
        with contextlib.suppress(psutil.Error):
            return "loader" if "pipeline.train" in _words(process.parent()) else "rank"
    if any("spawn_main" in word or "forkserver" in word for word in words):
        return "worker"
    return {"flows.stages": "flow", "flows.serve": "server"}.get("".join(words[2:3]), "")
