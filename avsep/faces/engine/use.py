"""How busy an engine is: the share of time in which its networks run, beside its socket."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

EVERY_S = 2.0
USE = "use"


class UseMeter:
    """Measures the share and writes it down now and then.

    Args:
        folder: of the engine's socket.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / USE
        self._since, self._busy_s = time.monotonic(), 0.0

    @contextmanager
    def busy(self) -> Iterator[None]:
        """Count the body."""
        started = time.monotonic()
        yield
        self._busy_s += time.monotonic() - started

    def write(self) -> None:
        """Write the share since it was last written, if that is some seconds ago."""
        passed = time.monotonic() - self._since
        if passed < EVERY_S:
            return
        with suppress(OSError):  # it is only shown
            partial = self._path.with_suffix(".new")
            partial.write_text(f"{min(1.0, self._busy_s / passed):.3f}", "ascii")
            partial.replace(self._path)
        self._since, self._busy_s = time.monotonic(), 0.0


def engine_use(addresses: Sequence[str]) -> float | None:
    """Mean share of engines, from their sockets; None before any has written one."""
    shares = []
    for address in addresses:
        with suppress(OSError, ValueError):
            shares.append(float(Path(address).with_name(USE).read_text("ascii")))
    return sum(shares) / len(shares) if shares else None
