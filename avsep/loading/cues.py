"""The video of one voice of a mixture, cut from the store so that frames and samples line up."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from avsep.errors import CheckError
from avsep.shards.store import ShardStore


def cut_lips(store: ShardStore, key: str, positions: NDArray[np.float32]) -> NDArray[np.uint8]:
    """The mouth crops nearest to given positions in a sample.

    Args:
        store: the store that holds the sample.
        key: key of the sample.
        positions: (F,) in frames, rising.

    Returns:
        (F, 96, 96).

    Raises:
        CheckError: the sample is too short.
    """
    _check(store.num_frames(key), key, positions)
    frames = np.rint(positions).astype(np.int64)
    first, last = int(frames[0]), int(frames[-1])
    return store.lips_window(key, first, last + 1 - first)[frames - first]


def cut_landmarks(
    store: ShardStore, key: str, positions: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Landmarks at given positions in a sample, interpolated linearly between its frames.

    Args:
        store: the store that holds the sample.
        key: key of the sample.
        positions: (F,) in frames, rising.

    Returns:
        (F, 68, 3) in pixels of the analysis frame, and the `valid` marks (F,) of the nearest
        frames.

    Raises:
        CheckError: the sample is too short.
    """
    num_frames = store.num_frames(key)
    _check(num_frames, key, positions)
    before = np.floor(positions).astype(np.int64)
    after = np.minimum(before + 1, num_frames - 1)
    share = (positions - before)[:, None, None]
    first, last = int(before[0]), int(after[-1])
    stored, valid = store.landmark_window(key, first, last + 1 - first)
    points = stored[before - first].astype(np.float32)
    points += share * (stored[after - first].astype(np.float32) - points)
    return points, valid[np.rint(positions).astype(np.int64) - first]


def _check(num_frames: int, key: str, positions: NDArray[np.float32]) -> None:
    if positions[0] < 0 or np.rint(positions[-1]) >= num_frames:
        raise CheckError(
            f"{key} has {num_frames} frames; a mixture needs {len(positions)} from frame"
            f" {positions[0]:g} on. Run the stage `mix` again."
        )
