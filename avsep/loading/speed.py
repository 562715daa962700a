"""Speed perturbation: voices played faster or slower, with their video, as further speakers.

Another speed moves pitch and formants as another vocal tract would, so a handful of training
speakers becomes many. A speed is written as n: n/25 times as long, so 21 plays a clip
19 % faster and 30 plays it 17 % slower, and frames and samples stay aligned.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy.signal import resample_poly

from avsep.schema import SAMPLES_PER_FRAME, MixtureRecipe
from avsep.shards.cache import ByteCache
from avsep.shards.store import ShardStore

NORMAL = 25
CACHE_BYTES = 256 << 20


def speeds_within(share: float) -> list[int]:
    """The speeds that differ from normal by at most a share of it, sorted."""
    return [n for n in range(13, 101) if abs(NORMAL / n - 1) <= share + 1e-9]


def stretched_length(num_frames: int, speed: int) -> int:
    """Frames of a clip at a speed."""
    return num_frames * speed // NORMAL


class SpeedPerturbation:
    """Draws a speed for each voice of a mixture, and plays the voices at them."""

    def __init__(self, store: ShardStore, share: float, seed: int) -> None:
        """Prepare drawing.

        Args:
            store: the samples.
            share: largest change of speed, as a share of normal.
            seed: of the drawing.
        """
        self._store, self._seed = store, seed
        self._choices = speeds_within(share)
        self._num_frames = {row.key: row.num_frames for row in store.index}
        self._cache = ByteCache(CACHE_BYTES)

    def change(self, recipe: MixtureRecipe, number: int) -> tuple[MixtureRecipe, list[int]]:
        """The mixture with its windows moved to where they lie at the drawn speeds, and the speeds.

        A clip that would be too short keeps its speed.

        Args:
            recipe: drawn at normal speed.
            number: number of the mixture; the same number draws the same speeds.
        """
        rng = np.random.default_rng([self._seed, number, 2])
        frames = recipe.num_samples // SAMPLES_PER_FRAME
        sources, speeds = [], []
        for source in recipe.sources:
            speed = self._choices[int(rng.integers(len(self._choices)))]
            total = stretched_length(self._num_frames[source.key], speed)
            if total < frames:
                speed, total = NORMAL, self._num_frames[source.key]
            first = source.start // SAMPLES_PER_FRAME * speed // NORMAL
            start = min(first, total - frames) * SAMPLES_PER_FRAME
            sources.append(replace(source, start=start))
            speeds.append(speed)
        return replace(recipe, sources=tuple(sources)), speeds

    def audio(self, key: str, speed: int) -> NDArray[np.int16]:
        """The whole sound of a sample at a speed, (640 T',) int16 at 16 kHz."""
        if speed == NORMAL:
            return self._store.audio(key)
        return self._cache.get((key, speed), lambda: self._play(key, speed))

    def _play(self, key: str, speed: int) -> tuple[NDArray[np.int16], int]:
        played = play(self._store.audio(key), speed)
        played = played[: stretched_length(self._num_frames[key], speed) * SAMPLES_PER_FRAME]
        return played, played.nbytes


def play(audio: NDArray[np.int16], speed: int) -> NDArray[np.int16]:
    """Play sound at a speed: n/25 times as many samples, band-limited, int16."""
    played = resample_poly(audio.astype(np.float64), speed, NORMAL)
    return np.clip(np.rint(played), -32768, 32767).astype(np.int16)


def frame_positions(first: int, num_frames: int, speed: int) -> NDArray[np.float32]:
    """The positions of a window's frames in the stored clip, (num_frames,) in frames.

    Args:
        first: first frame of the window in the played clip.
        num_frames: length of the window.
        speed: speed of the clip.
    """
    return ((first + np.arange(num_frames)) * (NORMAL / speed)).astype(np.float32)
