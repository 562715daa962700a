"""The energy of a sound, given to another."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def as_loud_as(changed: NDArray[np.floating], voice: NDArray[np.floating]) -> NDArray[np.float32]:
    """Scale a sound (N,) to the energy of another, such as a voice before a change, (N,).

    Silence stays silent. Sums of squares, and no `np.dot`: its last bits depend on the number of
    threads.
    """
    energy = float(np.square(changed).sum())
    factor = np.sqrt(float(np.square(voice).sum()) / energy) if energy > 0 else 1.0
    return (changed * factor).astype(np.float32)
