"""Cross-fades between estimates that overlap."""

from __future__ import annotations

import math

import numpy as np


def fade_in(new: np.ndarray, old: np.ndarray, ramp: np.ndarray) -> None:
    """Fade from one estimate to another at the start of the new one, in place.

    Args:
        new: (..., n) float32, changed in its first samples.
        old: (..., m) float32, the other estimate of the same samples.
        ramp: (f,) share of `new`, rising from 0 to 1.
    """
    fade = len(ramp)
    before = old[..., :fade]
    new[..., :fade] = before + (new[..., :fade] - before) * ramp


class CrossFader:
    """Joins windows by cross-fades in the middle of their overlaps.

    A window lacks context near its edges, so its samples beyond the cross-fade are not used.

    Args:
        fade: length of the cross-fade in samples; a shorter overlap is faded as a whole.
    """

    def __init__(self, fade: int) -> None:
        self._fade = fade
        self._pending: np.ndarray | None = None
        self._done = 0

    def push(self, start: int, estimate: np.ndarray) -> np.ndarray:
        """Take a window (S, n) that starts at sample `start`; return settled samples (S, m)."""
        if self._pending is None:
            self._pending, self._done = estimate, start
            return estimate[:, :0]
        shared = self._done + self._pending.shape[1] - start
        fade = min(self._fade, shared)
        joint = start + (shared - fade) // 2  # first sample of the cross-fade
        settled, old = np.split(self._pending, [joint - self._done], axis=1)
        new = estimate[:, joint - start :].copy()
        ramp = 0.5 - 0.5 * np.cos(np.arange(fade, dtype=np.float32) * (math.pi / max(fade, 1)))
        fade_in(new, old, ramp)
        self._pending, self._done = new, joint
        return settled

    def finish(self) -> np.ndarray:
        """The rest, (S, m)."""
        return np.zeros((0, 0), np.float32) if self._pending is None else self._pending
