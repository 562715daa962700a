"""One stage at a time in a project; trainings and evaluations of different models may run together.

Two runs of one stage would remove each other's work in progress. The lock is the kernel's: it ends
with the process that holds it, however that ends.
"""

from __future__ import annotations

import errno
import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from avsep.errors import CheckError
from avsep.workspace import Workspace

# What is left of a run that was killed ends within seconds.
WAIT_S = 15.0
POLL_S = 0.2
# A disk that knows no locks cannot have two machines at work either.
_NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS)


@contextmanager
def own_turn(workspace: Workspace, stage: str, model: str = "") -> Iterator[None]:
    """Hold the project for a stage; with a model, only against stages without and of this model.

    Raises:
        CheckError: another stage is at work; says which.
    """
    folder = workspace.work("locks")
    folder.mkdir(parents=True, exist_ok=True)
    limit = time.monotonic() + WAIT_S
    name = f"{stage} {model}".strip()
    with ExitStack() as held:
        held.enter_context(_locked(folder / "project", name, limit, shared=bool(model)))
        if model:
            held.enter_context(_locked(folder / model, name, limit))
        yield


@contextmanager
def _locked(path: Path, name: str, limit: float, *, shared: bool = False) -> Iterator[None]:
    with path.open("a+", encoding="utf-8") as handle:
        _wait_for(handle.fileno(), path, limit, fcntl.LOCK_SH if shared else fcntl.LOCK_EX)
        handle.truncate(0)
        handle.write(f"{name}, process {os.getpid()}")
        handle.flush()
        yield


def _wait_for(descriptor: int, path: Path, limit: float, kind: int) -> None:
    while True:
        try:
            fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
            return
        except OSError as error:
            if error.errno in _NO_LOCKS:
                return
            if error.errno not in (errno.EAGAIN, errno.EACCES):
                raise
        if time.monotonic() > limit:
            who = path.read_text("utf-8", "replace")[:100]
            raise CheckError(
                f"another stage is at work in this project ({who}); wait until it has ended, then"
                " run the command again."
            )
        time.sleep(POLL_S)
