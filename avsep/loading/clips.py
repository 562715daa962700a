"""Windows of single clips, for pretraining the lip encoder. Items are functions of a number."""

from __future__ import annotations

import numpy as np
from torch.utils.data import Dataset

from avsep.loading.augment import crop_lips
from avsep.loading.config import AugmentConfig
from avsep.loading.cues import cut_lips
from avsep.loading.mixtures import Item
from avsep.loading.speed import NORMAL, frame_positions
from avsep.loading.usable_rows import usable_rows
from avsep.schema import SAMPLES_PER_FRAME
from avsep.shards.store import ShardStore


class TrainClips(Dataset[Item]):
    """Random windows of random training clips with one voice; endless.

    An item is a dict: `item`, `key`, `lips` (F, 88, 88) uint8, `audio` (640 F,) float32.
    """

    def __init__(
        self, store: ShardStore, *, seed: int, num_frames: int, augment: AugmentConfig | None = None
    ) -> None:
        """Prepare items of `num_frames` frames.

        Raises:
            CheckError: no training clip is long enough.
        """
        self._store, self._seed, self._num_frames = store, seed, num_frames
        self._augment = augment or AugmentConfig()
        self._rows = usable_rows(store, "train", num_frames)

    def __getitem__(self, number: int) -> Item:
        rng = np.random.default_rng([self._seed, number])
        row = int(self._rows[int(rng.integers(len(self._rows)))])
        num_frames = int(self._store.index.column("num_frames")[row])
        first = int(rng.integers(num_frames - self._num_frames + 1))
        return _window(self._store, row, number, first, self._num_frames, self._augment, rng)


class ListedClips(Dataset[Item]):
    """The first window of each clip of a split, the centre of the picture."""

    def __init__(self, store: ShardStore, *, split: str, num_frames: int) -> None:
        """Prepare items of `num_frames` frames.

        Raises:
            CheckError: no clip of the split is long enough.
        """
        self._store, self._num_frames = store, num_frames
        self._rows = usable_rows(store, split, num_frames)

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, number: int) -> Item:
        row = int(self._rows[number])
        rng = np.random.default_rng(0)
        return _window(self._store, row, number, 0, self._num_frames, AugmentConfig(), rng)


def _window(
    store: ShardStore,
    row: int,
    number: int,
    first: int,
    num_frames: int,
    augment: AugmentConfig,
    rng: np.random.Generator,
) -> Item:
    key = store.index.text("key", row)
    audio = store.audio_window(key, first * SAMPLES_PER_FRAME, num_frames * SAMPLES_PER_FRAME)
    positions = frame_positions(first, num_frames, NORMAL)
    return {
        "item": number,
        "key": key,
        "lips": crop_lips(cut_lips(store, key, positions), augment, rng),
        "audio": audio.astype(np.float32) / np.float32(32768),
    }
