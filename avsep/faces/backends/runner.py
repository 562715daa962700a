"""What runs the networks of a backend: this process, or an engine that others share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from avsep.faces.backends import Region


class Runner(Protocol):
    """Runs networks, here or in another process."""

    def find(self, frame: np.ndarray, smallest: int) -> np.ndarray:
        """The faces of a frame, one row each."""
        ...

    def estimate(
        self, frames: Sequence[np.ndarray], numbers: Sequence[int], regions: np.ndarray
    ) -> np.ndarray:
        """One row per region (N, 4) in the frame of its number."""
        ...


def estimate_pairs(
    runner: Runner, frames: Sequence[np.ndarray], regions: Sequence[Region]
) -> np.ndarray:
    """One row per pair of a frame (H, W, 3) uint8 RGB and a region in it; at least one pair."""
    # Several faces of a frame share it: it is sent once.
    own = {id(frame): frame for frame in frames}
    place = {key: number for number, key in enumerate(own)}
    return runner.estimate(
        list(own.values()),
        [place[id(frame)] for frame in frames],
        np.array([[r.x, r.y, r.side, r.angle] for r in regions]),
    )
