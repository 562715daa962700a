"""Learning rate as a function of the step, as a factor of the peak rate."""

from __future__ import annotations

import math
from typing import Any

from avsep.training.config import FitSettings

FLOOR = 0.01  # of the peak rate, at the end of `cosine`
PLATEAU_FACTOR = 0.5


def lr_factor(settings: FitSettings, step: int) -> float:
    """Return the factor of the peak learning rate for step `step` (the first is 0)."""
    if step < settings.warmup:
        return (step + 1) / settings.warmup
    if settings.schedule != "cosine":
        return 1.0
    span = max(1, settings.steps - settings.warmup)
    done = min(1.0, (step - settings.warmup) / span)
    return FLOOR + (1.0 - FLOOR) * 0.5 * (1.0 + math.cos(math.pi * done))


class Plateau:
    """Halves the learning rate when the score has not risen for some validations.

    Attributes:
        factor: present factor of the learning rate.
        best: best score so far.
        stale: number of validations since the best one.
    """

    def __init__(self, patience: int) -> None:
        self.patience = patience
        self.factor = 1.0
        self.best = -math.inf
        self.stale = 0

    def update(self, score: float) -> None:
        """Record the score of a validation; higher is better."""
        if score > self.best:
            self.best, self.stale = score, 0
            return
        self.stale += 1
        if self.stale > self.patience:
            self.factor *= PLATEAU_FACTOR
            self.stale = 0

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {"factor": self.factor, "best": self.best, "stale": self.stale}

    def load(self, state: dict[str, Any]) -> None:
        """Restore a checkpoint's state."""
        self.factor, self.best, self.stale = state["factor"], state["best"], state["stale"]
