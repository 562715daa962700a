"""The circuit breaker: when YouTube throttles, all downloads pause, longer each time.

Its state is a small file. So worker processes see it at once, other sessions (batches on other
Dask workers) pause too, and a run that is killed and started again does not ask earlier.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from avsep.errors import CheckError
from avsep.files import read_json, write_json

NAME = "throttled.json"


def is_open(folder: Path) -> bool:
    """Whether downloads are paused; cheap, for worker processes."""
    return (folder / NAME).exists()


class Breaker:
    """The breaker of one session. It is open while downloads are paused.

    Attributes:
        pauses: number of pauses in a row, without a successful download in between.
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
        """Whether downloads are paused."""
        return self._path.exists()

    def refresh(self) -> bool:
        """Read what another session wrote; returns whether the breaker is open."""
        if not self.is_open:
            return False
        pauses, until = self._read()
        # 0 if the file has just been removed or is incomplete: keep what is known here.
        if pauses:
            self.pauses, self._until = pauses, until
        return True

    def trip(self) -> float:
        """Open the breaker; returns the seconds to wait."""
        if not self.refresh():
            self.pauses += 1
            pause_s = min(self._max_pause_s, self._pause_s * 2 ** (self.pauses - 1))
            self._until = self._now() + pause_s
            write_json(self._path, {"pauses": self.pauses, "until": self._until})
        return self.remaining_s

    @property
    def remaining_s(self) -> float:
        """Seconds until the end of the pause."""
        # Limited, so that a clock that was set back does not cause a pause of years.
        return min(max(0.0, self._until - self._now()), self._max_pause_s)

    def wait(self) -> None:
        """Wait for the end of the pause and close the breaker.

        If another session tries earlier and is throttled again, the wait gets longer.
        """
        self.refresh()
        while (remaining_s := self.remaining_s) > 0:
            self._sleep(min(remaining_s, 5.0))
            self.refresh()
        self._path.unlink(missing_ok=True)

    def succeeded(self) -> None:
        """Tell the breaker that the site answers again."""
        if not self.is_open:
            self.pauses = 0
