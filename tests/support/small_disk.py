"""A small disk in memory that can be filled up, made read-only and given room again."""

from __future__ import annotations

import gc
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest


@dataclass(frozen=True)
class SmallDisk:
    """A disk of its own, mounted at `path`."""

    path: Path

    def fill(self, *, but: int = 0) -> None:
        """Take all that is free, to the last byte or but for some."""
        if but:
            status = os.statvfs(self.path)
            with (self.path / "filler").open("wb") as handle:
                os.posix_fallocate(handle.fileno(), 0, status.f_bavail * status.f_frsize - but)
            return
        with (self.path / "filler").open("ab", buffering=0) as handle:
            for size in (1 << 16, 1 << 12, 1):
                try:
                    while handle.write(b"x" * size) == size:
                        pass
                except OSError:
                    continue

    def make_read_only(self) -> None:
        """Let nobody write."""
        gc.collect()  # a file that is still open for writing would keep it writable
        assert _mount("-o", "remount,ro", str(self.path)) == 0

    def heal(self) -> None:
        """Give it room, and let it be written to."""
        _mount("-o", "remount,rw", str(self.path))
        (self.path / "filler").unlink(missing_ok=True)


def _mount(*words: str) -> int:
    return subprocess.run(["mount", *words], capture_output=True, check=False).returncode


@contextmanager
def mounted(path: Path, megabytes: float) -> Iterator[SmallDisk]:
    """Mount a disk of some megabytes; skips the test where that is not allowed."""
    path.mkdir()
    kilobytes = round(1024 * megabytes)
    if os.geteuid() or _mount("-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", str(path)):
        pytest.skip("only root may mount a disk")
    try:
        yield SmallDisk(path)
    finally:
        subprocess.run(["umount", "--lazy", str(path)], check=False)
