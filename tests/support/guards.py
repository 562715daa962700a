"""Guards round a test and its children: they reach this machine alone, and write where they may."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.child_guard.sitecustomize import host_of, is_here

ROOT = Path(__file__).parents[2]
CHILD_PATH = (str(ROOT / "tests" / "support" / "child_guard"), str(ROOT))
"""What `PYTHONPATH` holds for children that get the guards."""
# What Python, pytest, coverage and the compilers of kernels keep for themselves.
_CACHES = ("__pycache__", ".pytest_cache", ".hypothesis", ".coverage", ".cache", ".config", ".nv")
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND

_written: list[str] | None = None
_reached: list[str] | None = None


@contextlib.contextmanager
def only_loopback() -> Iterator[None]:
    """Let a test fail that looks for another machine, or connects to one, and hides the error."""
    global _reached
    _hook()
    before = _reached
    seen: list[str] = []
    _reached = seen
    try:
        yield
    finally:
        _reached = before
    if seen:
        pytest.fail(f"a test reaches for {', '.join(sorted(set(seen)))}")


@contextlib.contextmanager
def writes_in(*allowed: Path) -> Iterator[None]:
    """Let a test fail that writes, removes or renames outside of some folders.

    Only what this process does is seen, and of libraries in C only what goes through Python.
    """
    global _written
    _hook()
    before = _written
    seen: list[str] = []
    _written = seen
    try:
        yield
    finally:
        _written = before
    places = [os.path.realpath(path) for path in (*allowed, tempfile.gettempdir(), "/dev", "/proc")]
    wrong = [
        path
        for path in map(os.path.realpath, seen)
        if not any(path == place or path.startswith(f"{place}/") for place in places)
        and not any(f"/{cache}" in path for cache in _CACHES)
    ]
    if wrong:
        pytest.fail(f"a test writes to {', '.join(sorted(set(wrong))[:5])}")


@contextlib.contextmanager
def children_in(patch: pytest.MonkeyPatch, notes: Path, *allowed: Path) -> Iterator[None]:
    """Give the Python children of a test both guards; let the test fail that has one that needs it.

    Args:
        patch: sets the environment that children inherit.
        notes: a file that does not exist yet.
        allowed: where they may write, besides the temporary folder.
    """
    places = [os.path.realpath(path) for path in (*allowed, tempfile.gettempdir(), "/dev", "/proc")]
    patch.setenv("AVSEP_TEST_PLACES", os.pathsep.join(places))
    with children_on_loopback(patch, notes):
        yield


@contextlib.contextmanager
def children_on_loopback(patch: pytest.MonkeyPatch, notes: Path) -> Iterator[None]:
    """The same with the guard of the network alone."""
    patch.setenv("AVSEP_TEST_NOTES", str(notes))
    patch.setenv("PYTHONPATH", os.pathsep.join(CHILD_PATH))
    yield
    if notes.exists():
        pytest.fail(f"a child of a test {notes.read_text().splitlines()[0]}")


_hooked: list[bool] = []


def _hook() -> None:
    if not _hooked:
        sys.addaudithook(_see)  # which stays until the process ends
        _hooked.append(True)


def _see(event: str, arguments: tuple[Any, ...]) -> None:
    if event.startswith("socket."):
        host = host_of(event, arguments)
        if _reached is not None and host is not None and not is_here(host):
            _reached.append(host)
            raise PermissionError(f"a test reaches for {host}")
        return
    if _written is None:
        return
    if event == "open":
        path, mode, flags = arguments
        if not (set(mode or "") & set("wax+") or (mode is None and flags & _WRITES)):
            return
        paths = [path]
    elif event in ("os.remove", "os.mkdir", "os.rmdir"):
        # Below an open folder, as `shutil.rmtree` goes, the path says nothing.
        paths = [arguments[0]] if arguments[-1] == -1 else []
    elif event in ("os.rename", "os.link", "os.symlink"):
        paths = [arguments[1]]
    else:
        return
    for path in paths:
        if isinstance(path, str | bytes | os.PathLike):
            _written.append(os.fsdecode(path))
