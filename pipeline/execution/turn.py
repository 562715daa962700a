"""One stage at a time in a project, and one batch in a process.

Trainings and evaluations of different things may run together. Two runs of one stage would remove
each other's work in progress.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import TypeVar

from avsep.file_lock import is_exclusively_held, lock_if_free, wait_for_lock
from avsep.workspace import Workspace

# What is left of a run that was killed ends within seconds.
WAIT_S = 15.0

Out = TypeVar("Out")

_batch = threading.Lock()


def one_batch(work: Callable[[], Out]) -> Out:
    """Do a batch as soon as no other thread of this process does one.

    A process has one pool and one set of networks, but a worker of Dask may have several threads.
    """
    with _batch:
        return work()


@contextmanager
def own_turn(workspace: Workspace, stage: str, model: str = "") -> Iterator[bool]:
    """Hold the project for a stage; with a model, only against stages without and of this model.

    Yields:
        Whether no other stage was at work when this one began.

    Raises:
        CheckError: another stage is at work; says which.
    """
    folder = workspace.work("locks")
    folder.mkdir(parents=True, exist_ok=True)
    limit = time.monotonic() + WAIT_S
    name = f"{stage} {model}".strip()
    alone = not model or _is_free(folder / "project")
    with ExitStack() as held:
        held.enter_context(_locked(folder / "project", name, limit, shared=bool(model)))
        if model:
            held.enter_context(_locked(folder / model, name, limit))
        yield alone


def _is_free(path: Path) -> bool:
    with path.open("a") as handle:
        return lock_if_free(handle.fileno())


@contextmanager
def _locked(path: Path, name: str, limit: float, *, shared: bool = False) -> Iterator[None]:
    with path.open("a+", encoding="utf-8") as handle:
        wait_for_lock(handle.fileno(), limit, partial(_refusal, path.parent), shared=shared)
        if not shared:  # others would write over the name
            handle.truncate(0)
            handle.write(f"{name}, process {os.getpid()}")
            handle.flush()
        yield


def _refusal(folder: Path) -> str:
    names = []
    for path in sorted(folder.iterdir()):
        with path.open(encoding="utf-8", errors="replace") as handle:
            if is_exclusively_held(handle.fileno()):  # else the name is that of an earlier stage
                names.append(handle.read(100))
    who = f" ({'; '.join(names)})" if names else ""
    return (
        f"another stage is at work in this project{who}; wait until it has ended, then run the"
        " command again."
    )
