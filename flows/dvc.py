"""DVC as a child of a scheduled flow: one at a time, ended with the flow."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

from prefect.logging import get_run_logger

from avsep.errors import CheckError
from avsep.files import read_json
from avsep.workspace import Workspace
from pipeline.execution.ledger import Ledger

GRACE_S = 5.0
MAX_LINE = 2000
TAIL = 20


@contextlib.contextmanager
def one_at_a_time(workspace: Workspace) -> Iterator[None]:
    """Wait until no other scheduled run works in the project."""
    path = workspace.work("scheduled") / "lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def run_dvc(workspace: Workspace, *words: str) -> list[str]:
    """Run `dvc` in the project folder; what it says goes to the log of the flow.

    Returns:
        The last lines it said.

    Raises:
        CheckError: it failed; the sentence ends with the last lines.
    """
    log = get_run_logger()
    log.info("dvc %s", " ".join(words))
    process = subprocess.Popen(
        [sys.executable, "-m", "dvc", *words],
        cwd=workspace.root,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,  # a group of its own: dvc does not pass signals on to its stages
    )
    said: list[str] = []
    try:
        assert process.stdout is not None
        for line in process.stdout:
            said = [*said, line.rstrip()[:MAX_LINE]][-TAIL:]
            log.info("%s", said[-1])
        code = process.wait()
    finally:
        _end(process)
    if code:
        raise CheckError(f"`dvc {' '.join(words)}` failed with {code}: {' / '.join(said[-3:])}")
    return said


def has_remote(workspace: Workspace) -> bool:
    """Whether the project has a place to push to."""
    return any(line.strip() for line in run_dvc(workspace, "remote", "list"))


def ledger_rows(workspace: Workspace) -> list[dict[str, Any]]:
    """How the items of each stage ended, for a table artifact."""
    return [
        {"stage": stage, "ended": f"{state}: {reason}" if reason else str(state), "items": count}
        for stage, counts in Ledger(workspace.ledger).all_counts().items()
        for state, reason, count in counts.rows()
    ]


def metric_rows(workspace: Workspace) -> list[dict[str, Any]]:
    """The headline figures of each evaluated model, for a table artifact."""
    rows = []
    for path in sorted((workspace.data / "evaluations").glob("*/metrics.json")):
        rows += [
            {"model": path.parent.name, "metric": name, "value": value}
            for name, value in _flat(read_json(path), "")
        ]
    return rows


def _flat(values: Any, prefix: str) -> Iterator[tuple[str, float]]:
    if isinstance(values, dict):
        for name, value in sorted(values.items()):
            yield from _flat(value, f"{prefix}.{name}" if prefix else name)
    elif isinstance(values, (int, float)) and not isinstance(values, bool):
        yield prefix, values


def _end(process: subprocess.Popen[str]) -> None:
    """End the whole group, whether or not its leader has gone already."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:
            break
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=GRACE_S)
