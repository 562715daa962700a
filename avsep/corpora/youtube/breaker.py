"""The circuit breaker: when YouTube throttles, everything waits, longer each time.

Its state is a small file, so that worker processes see it at once, other sessions (batches on other
workers of Dask) wait as long, and a run that was killed and started again does not ask sooner.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from avsep.errors import CheckError
from avsep.files import read_json, write_json

NAME = "throttled.json"


def is_open(folder: Path) -> bool:
    """Whether nothing may be asked for now; cheap, for workers."""
    return (folder / NAME).exists()


class Breaker:
    """The breaker of one run.

    Attributes:
        pauses: in a row, without a success between.
    """

    def __init__(
        self,
        folder: Path,
        *,
        pause_s: float,
        max_pause_s: float,
        now: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._path = folder / NAME
        self._pause_s, self._max_pause_s = pause_s, max_pause_s
        self._now, self._sleep = now, sleep
        self.pauses, self._until = self._read()

    def _read(self) -> tuple[int, float]:
        try:
            content = read_json(self._path)
            return int(content["pauses"]), float(content["until"])
        except (CheckError, KeyError, TypeError, ValueError):
            return 0, 0.0

    @property
    def is_open(self) -> bool:
        """Whether everything waits."""
        return self._path.exists()

    def _refresh(self) -> bool:
        """Take over what another session wrote; whether it is open."""
        if not self.is_open:
            return False
        pauses, until = self._read()
        # Gone since, or torn: what is known here still holds.
        if pauses:
            self.pauses, self._until = pauses, until
        return True

    def trip(self) -> float:
        """Open it; returns for how many seconds everything is to wait."""
        if not self._refresh():
            self.pauses += 1
            pause_s = min(self._max_pause_s, self._pause_s * 2 ** (self.pauses - 1))
            self._until = self._now() + pause_s
            write_json(self._path, {"pauses": self.pauses, "until": self._until})
        return self.left_s

    @property
    def left_s(self) -> float:
        """Seconds until something may be asked for again."""
        # A clock that was set back must not make it wait for years.
        return min(max(0.0, self._until - self._now()), self._max_pause_s)

    def wait(self) -> None:
        """Wait until it may be tried again, then let one request through.

        Another session that tried before and was throttled again makes this one wait on.
        """
        self._refresh()
        while (left := self.left_s) > 0:
            self._sleep(min(left, 5.0))
            self._refresh()
        self._path.unlink(missing_ok=True)

    def succeeded(self) -> None:
        """Note that requests are answered again."""
        if not self.is_open:
            self.pauses = 0
