"""Processes that are known by number and start, so that a later one is not taken for them."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Iterable
from pathlib import Path

import psutil

POLL_S = 0.5
OF_DVC = "DVC_STAGE"  # DVC sets it for what it starts


def started(pid: int) -> str:
    """When a process started, in clock ticks since boot; empty when there is no such process.

    Read from the kernel and not from psutil, whose time moves with the clock of the machine.
    """
    try:
        text = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace")
    except OSError:
        return ""
    state, *fields = text.rpartition(")")[2].split()  # a process name may hold anything
    return "" if state == "Z" else fields[18]


def outermost_dvc() -> int:
    """The outermost `dvc` above this process, else this process."""
    return [os.getpid(), *_dvcs_above()][-1]


def end_with_dvc() -> None:
    """Ask this process to end soon after a `dvc` above it has gone, even by SIGKILL.

    A stage that went on alone would work in the same folders as the one of the next `dvc repro`.
    Where its `dvc` has gone before this is called, it ends at once.
    """
    above = {pid: started(pid) for pid in _dvcs_above()}

    def watch() -> None:
        while all(since and started(pid) == since for pid, since in above.items()):
            time.sleep(POLL_S)
        os.kill(os.getpid(), signal.SIGTERM)

    if above:
        threading.Thread(target=watch, daemon=True).start()
    elif OF_DVC in os.environ and not _dvc_of_another_name():
        with contextlib.suppress(OSError):
            print("avsep: its dvc has gone; the stage ends.", file=sys.stderr, flush=True)
        os.kill(os.getpid(), signal.SIGTERM)


def _dvc_of_another_name() -> bool:
    """Whether a process above, in our session, was not itself started by DVC: it may be DVC.

    A program that uses DVC as a library may have any name. What has lost its `dvc` has a process
    of another session above it, and at most a shell that the `dvc` had started.
    """
    for process in _above():
        try:
            if os.getsid(process.pid) == os.getsid(0) and OF_DVC not in process.environ():
                return True
        except (psutil.NoSuchProcess, ProcessLookupError):
            continue
        except (psutil.AccessDenied, PermissionError):
            return True
    return False


def _above() -> list[psutil.Process]:
    """The processes above this one, as far as they do not end while they are looked at."""
    found = []
    with contextlib.suppress(psutil.NoSuchProcess):
        process = psutil.Process().parent()
        while process is not None:
            found.append(process)
            process = process.parent()
    return found


def _dvcs_above() -> list[int]:
    return [process.pid for process in _above() if _is_dvc(process)]


def _is_dvc(process: psutil.Process) -> bool:
    try:
        words = process.cmdline()[:3]
    except psutil.Error:
        return False
    return "dvc" in {Path(word).name for word in words}


def end_with_children(pids: Iterable[int], grace_s: float) -> None:
    """End processes and all below them: asked first, killed after `grace_s` seconds."""
    found: list[psutil.Process] = []
    for pid in pids:
        try:
            process = psutil.Process(pid)
            found += [process, *process.children(recursive=True)]
        except psutil.NoSuchProcess:
            continue
    for ask in (psutil.Process.terminate, psutil.Process.kill):
        for process in found:
            try:
                ask(process)
            except psutil.NoSuchProcess:
                continue
        _, found = psutil.wait_procs(found, timeout=grace_s)
