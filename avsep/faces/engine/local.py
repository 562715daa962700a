"""Runs networks in this process, for a single clip or a debugger."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from avsep.faces.engine.server import Networks


class LocalRunner:
    """What `EngineClient` does, without an engine."""

    def __init__(self, networks: Networks) -> None:
        self._networks = networks

    def find(self, frame: np.ndarray, smallest: int) -> np.ndarray:
        """The faces of a frame (H, W, 3) uint8 RGB, as rows."""
        return self._networks.find([frame], [smallest])[0]

    def estimate(
        self, frames: Sequence[np.ndarray], numbers: Sequence[int], regions: np.ndarray
    ) -> np.ndarray:
        """One row of landmarks per region."""
        return self._networks.estimate(frames, numbers, regions)
