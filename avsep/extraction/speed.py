"""How fast clips are extracted, and where the time goes, in one line."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Mapping

PERIOD_S = 60.0  # that the rate is a mean of
MIN_PERIOD_S = 2.0


class ExtractionSpeed:
    """The rate of the last minute, and the share of each step in the time of all processes."""

    def __init__(self) -> None:
        self._ended: deque[tuple[float, int]] = deque([(time.monotonic(), 0)])
        self._steps: Counter[str] = Counter()
        self._total_s = 0.0

    def add(self, frames: int, seconds: float, steps: Mapping[str, float]) -> None:
        """Count a clip.

        Args:
            frames: number of its frames.
            seconds: time that its process took.
            steps: seconds per step.
        """
        now = time.monotonic()
        self._ended.append((now, frames))
        while len(self._ended) > 2 and now - self._ended[0][0] > PERIOD_S:
            self._ended.popleft()
        self._steps.update(steps)
        self._total_s += seconds

    def text(self, engine_use: float | None = None) -> str:
        """One line for people; empty until there is something to say.

        Args:
            engine_use: share of the time in which the networks of the engines were running.
        """
        passed = time.monotonic() - self._ended[0][0]
        if passed < MIN_PERIOD_S or not self._total_s:
            return ""
        frames = sum(frames for _, frames in self._ended) - self._ended[0][1]
        shares = [f"{name} {_percent(s / self._total_s)}" for name, s in self._steps.most_common()]
        if engine_use is not None:
            shares.append(f"engine busy {_percent(engine_use)}")
        return f"{frames / passed:,.0f} frames/s: {', '.join(shares)}"


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"
