"""Which clips can be trained on without mixing; light, no PyTorch."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from avsep.errors import CheckError
from avsep.shards.store import ShardStore


def usable_rows(store: ShardStore, split: str, num_frames: int) -> NDArray[np.int64]:
    """The numbers of the index rows of the clips of a split with one voice and enough frames.

    Raises:
        CheckError: there is none.
    """
    codes, names = store.index.codes("split")
    of_split = codes == names.index(split) if split in names else np.zeros(len(codes), bool)
    rows = np.flatnonzero(
        of_split
        & ~store.index.column("multi_voice")
        & (store.index.column("num_frames") >= num_frames)
    )
    if not len(rows):
        raise CheckError(
            f"the shards hold no {split} clip of one voice with {num_frames} frames or"
            " more; add speakers, or choose shorter windows."
        )
    return rows
