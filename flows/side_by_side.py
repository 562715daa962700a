"""`python -m flows.side_by_side`: as `dvc repro`, but small models are trained beside each other.

DVC runs one stage after the other. A small model trains faster on one core than on two, beside
another that has the other core. So once the stages that all models share are done, each stage of a
model gets a `dvc repro` of its own as soon as it can begin and the cores of a training are free;
DVC's locks let those run together. The last `dvc repro` does the rest, and leaves nothing for
another one.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from types import FrameType
from typing import Any

import psutil

from avsep.bars import Bar, Bars
from avsep.errors import AvsepError
from avsep.interrupts import keep_exit_code
from avsep.models.registry import LIPCODER, MODELS
from avsep.processes import default_workers
from avsep.progress import TELL, TOLD, can_show_bar
from avsep.terminal import echo
from avsep.workspace import PARAMS, Workspace
from flows.server import api_settings
from pipeline.config import load_configs
from pipeline.stages import evaluate, mix, pretrain, train

DVC = (sys.executable, "-m", "dvc", "--wait-for-lock", "repro")
POLL_S = 0.1


@dataclass(frozen=True)
class Job:
    """A `dvc repro`.

    Attributes:
        words: what follows on its command line.
        name: what other jobs call it; empty where none needs it.
        needs: names of the jobs that must have succeeded first.
    """

    words: tuple[str, ...] = ()
    name: str = ""
    needs: frozenset[str] = frozenset()


def jobs() -> list[Job]:
    """The stages of all models: the trainings, which take longest, before the evaluations."""
    needs = {pretrain.NAME: frozenset[str]()}
    trained = {name: f"{train.NAME}@{name}" for name in MODELS}
    for name, spec in MODELS.items():
        made_by = trained | {LIPCODER.name: pretrain.NAME}
        needs[trained[name]] = frozenset(made_by[base] for base in spec.needs)
    for name, stage in trained.items():
        needs[f"{evaluate.NAME}@{name}"] = frozenset([stage])
    return [Job(("--single-item", name), name, before) for name, before in needs.items()]


def cores_for(configs: dict[str, Any]) -> int | None:
    """The cores of one training; None where it may use a GPU, or all cores."""
    runs = [configs[pretrain.NAME], configs[train.NAME]]
    if any(run.device != "cpu" or not run.threads for run in runs):
        return None
    return max(int(run.devices * run.threads) for run in runs)


def main() -> int:
    """Reproduce the project of this folder; returns the exit code."""
    workspace = Workspace(Path.cwd())
    try:
        cores = cores_for(load_configs(workspace.root / PARAMS))
    except AvsepError as error:
        echo(f"avsep: {error}", err=True)
        return error.exit_code
    at_once = default_workers() // cores if cores else 0
    if at_once < 2:
        return run([Job()])
    # One server for all of them; it starts beside DVC, and ends with this process.
    Thread(target=_start_server, args=(workspace,), daemon=True).start()
    return run([Job((mix.NAME,))]) or run(jobs(), at_once) or run([Job()])


def run(given: Sequence[Job], at_once: int = 1) -> int:
    """Run jobs, each as soon as it can begin; returns the worst exit code.

    When one fails, those that need it are left out, and the others go on: what they finish need not
    be done again.

    Args:
        given: the jobs; of several that can begin, the first one does.
        at_once: how many may run at the same time.
    """
    drawn = at_once > 1 and can_show_bar()
    waiting, done, code = list(given), set[str](), 0
    running: dict[Job, subprocess.Popen[str]] = {}
    shown: list[Thread] = []
    with Bars() if drawn else nullcontext() as bars, _ended_with_us(running):
        while True:
            ready = [job for job in waiting if job.needs <= done]
            for job in ready[: at_once - len(running)]:
                waiting.remove(job)
                running[job] = _start(job.words, piped=drawn)
                if bars:
                    shown.append(Thread(target=_show, args=(running[job], bars)))
                    shown[-1].start()
            if not running:
                break
            time.sleep(POLL_S)
            for job, process in list(running.items()):
                if process.poll() is not None:
                    del running[job]
                    code = max(code, _code(process.returncode))
                    if process.returncode == 0:
                        done.add(job.name)
        for thread in shown:
            thread.join()
    return code


def _code(returned: int) -> int:
    """The exit code, as a shell gives it for a process that a signal ended."""
    return returned if returned >= 0 else 128 - returned


def _start(words: Sequence[str], *, piped: bool) -> subprocess.Popen[str]:
    if not piped:
        return subprocess.Popen([*DVC, *words], text=True)
    return subprocess.Popen(
        [*DVC, *words],
        env=os.environ | {TELL: "1", "PYTHONUNBUFFERED": "1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )


def _show(process: subprocess.Popen[str], bars: Bars) -> None:
    """Show what a `dvc` and its stages say: a bar for the work, the rest above the bars."""
    assert process.stdout is not None
    bar: Bar | None = None
    known = ""
    for line in map(str.rstrip, process.stdout):
        if not line.startswith(TOLD):
            bars.say(line)
            continue
        try:
            words = line.removeprefix(TOLD).split(" ", 2)
            done, total, title = float(words[0]), int(words[1]), words[2]
        except (ValueError, IndexError):  # two processes wrote at once
            continue
        if bar is None or title != known:
            if bar is not None:
                bar.remove()
            bar, known = bars.add(title, total), title
        bar.move_to(done)
    if bar is not None:
        bar.remove()


@contextmanager
def _ended_with_us(running: Mapping[Job, subprocess.Popen[str]]) -> Iterator[None]:
    """On TERM, end what was started; when interrupted, wait, since the terminal interrupts all.

    A stage ends when the `dvc` above it has gone.
    """

    def end(number: int, _: FrameType | None) -> None:
        for child in psutil.Process().children():  # one may have been born just now
            with suppress(psutil.NoSuchProcess, ProcessLookupError):
                if os.getsid(child.pid) == os.getsid(0):  # the Prefect server ends by itself
                    child.terminate()
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    except KeyboardInterrupt:
        for process in running.values():
            process.wait()
        raise
    finally:
        signal.signal(signal.SIGTERM, before)


def _start_server(workspace: Workspace) -> None:
    try:
        api_settings(workspace.work("prefect"))
    except (AvsepError, OSError):  # the first stage says it
        return


if __name__ == "__main__":
    if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:  # see the package
        signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        keep_exit_code()
        sys.exit(130)
