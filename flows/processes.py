"""Processes that are known by number and start, so that a later one is not taken for them."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import psutil


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
    above = [process.pid for process in psutil.Process().parents() if _is_dvc(process)]
    return above[-1] if above else os.getpid()


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
