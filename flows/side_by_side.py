"""`python -m flows.side_by_side`: as `dvc repro`, but small models are trained beside each other.

DVC runs one stage after the other. A small model trains faster on one core than on two, beside
another that has the other core. So once the stages that all models share are done, each group of
models that build on each other gets a `dvc repro` of its own stages; DVC's locks let those run
together. The last `dvc repro` does the rest, and leaves nothing for another one.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from types import FrameType
from typing import Any

from avsep.bars import Bar, Bars
from avsep.errors import AvsepError
from avsep.models.registry import LIPCODER, MODELS
from avsep.processes import default_workers
from avsep.progress import TELL, TOLD, can_show_bar
from avsep.terminal import echo
from avsep.workspace import PARAMS, Workspace
from flows.server import api_settings
from pipeline.config import load_configs
from pipeline.stages import evaluate, mix, pretrain, train

DVC = (sys.executable, "-m", "dvc", "--wait-for-lock", "repro")


def branches() -> list[list[str]]:
    """The stages of each group of models that build on each other, in order, as DVC names them."""
    groups: dict[str, list[str]] = {}
    for name, spec in MODELS.items():
        group = next((groups[base] for base in spec.needs if base in groups), [])
        if LIPCODER.name in spec.needs:
            group.append(pretrain.NAME)
        group += [f"{train.NAME}@{name}", f"{evaluate.NAME}@{name}"]
        groups[name] = group
    return [group for name, group in groups.items() if group[-1] == f"{evaluate.NAME}@{name}"]


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
    apart = branches()
    if cores is None or cores * len(apart) > default_workers():
        return run([[]])
    # One server for all of them; it starts beside DVC, and ends with this process.
    Thread(target=_start_server, args=(workspace,), daemon=True).start()
    rest = [["--single-item", *stages] for stages in apart]
    return run([[mix.NAME]]) or run(rest) or run([[]])


def run(targets: Sequence[Sequence[str]]) -> int:
    """Run a `dvc repro` for each list of words at the same time; returns the worst exit code.

    When one fails, the others go on: what they finish need not be done again.
    """
    drawn = len(targets) > 1 and can_show_bar()
    started = [_start(words, piped=drawn) for words in targets]
    with _ended_with_us(started):
        if drawn:
            with Bars() as bars:
                shown = [Thread(target=_show, args=(process, bars)) for process in started]
                for thread in shown:
                    thread.start()
                for thread in shown:
                    thread.join()
        return max(_code(process.wait()) for process in started)


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
def _ended_with_us(processes: Sequence[subprocess.Popen[str]]) -> Iterator[None]:
    """On TERM, end what was started; when interrupted, wait, since the terminal interrupts all.

    A stage ends when the `dvc` above it has gone.
    """

    def end(number: int, _: FrameType | None) -> None:
        for process in processes:
            process.terminate()
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    except KeyboardInterrupt:
        for process in processes:
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
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
