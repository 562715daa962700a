"""A changed voice brought back to the energy that it had."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def as_loud_as(changed: NDArray[np.floating], voice: NDArray[np.float32]) -> NDArray[np.float32]:
    """Scale a changed voice to the energy of the one it was, (N,) both; silence stays silent."""
    energy = float(np.square(changed).sum())
    factor = np.sqrt(float(np.square(voice).sum()) / energy) if energy > 0 else 1.0
    return (changed * factor).astype(np.float32)
