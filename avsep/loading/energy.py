"""Restores the energy of a voice after a change."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def as_loud_as(changed: NDArray[np.floating], voice: NDArray[np.float32]) -> NDArray[np.float32]:
    """Scale a changed voice (N,) to the energy of the original (N,); silence stays silent."""
    energy = float(np.square(changed).sum())
    factor = np.sqrt(float(np.square(voice).sum()) / energy) if energy > 0 else 1.0
    return (changed * factor).astype(np.float32)
