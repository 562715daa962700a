"""Speed perturbation: voices played faster or slower, with their video, as further speakers.

Another speed moves pitch and formants as another vocal tract would, so a handful of training
speakers becomes many. A speed is written as n: n/25 times as long, so 21 plays a clip
19 % faster and 30 plays it 17 % slower, and frames and samples stay aligned.
"""

from __future__ import annotations

import math
from dataclasses import replace
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy.signal import firwin, resample_poly

from avsep.schema import SAMPLES_PER_FRAME, MixtureRecipe
from avsep.shards.store import ShardStore

NORMAL = 25


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
            total = stretched_length(self._store.num_frames(source.key), speed)
            if total < frames:
                speed, total = NORMAL, self._store.num_frames(source.key)
            first = source.start // SAMPLES_PER_FRAME * speed // NORMAL
            start = min(first, total - frames) * SAMPLES_PER_FRAME
            sources.append(replace(source, start=start))
            speeds.append(speed)
        return replace(recipe, sources=tuple(sources)), speeds

    def window(self, key: str, speed: int, start: int, count: int) -> NDArray[np.int16]:
        """Some of the sound of a sample at a speed, (count,) int16 at 16 kHz.

        Args:
            key: key of the sample.
            speed: speed of the sample.
            start: first sample of the window in the played clip.
            count: number of samples; the window must lie within the played clip.

        Raises:
            CheckError: the shard is damaged.
        """
        if speed == NORMAL:
            return self._store.audio_window(key, start, count)
        total = self._store.num_frames(key) * SAMPLES_PER_FRAME
        first, last, skip = needed_for(start, count, speed, total)
        played = play(self._store.audio_window(key, first, last - first), speed)
        return played[skip : skip + count]


def play(audio: NDArray[np.int16], speed: int) -> NDArray[np.int16]:
    """Play sound at a speed: n/25 times as many samples, band-limited, int16."""
    played = resample_poly(audio.astype(np.float64), speed, NORMAL, window=_low_pass(speed))
    return np.clip(np.rint(played), -32768, 32767).astype(np.int16)


def needed_for(start: int, count: int, speed: int, total: int) -> tuple[int, int, int]:
    """What must be played for a window to have the values that it has in the whole played clip.

    The filter reaches a few samples to either side. The part begins where the filter's phase is
    that of the clip's beginning, so the same products are added in the same order.

    Args:
        start: first sample of the window in the played clip.
        count: number of samples of the window.
        speed: speed of the clip.
        total: number of samples of the stored clip.

    Returns:
        First sample and the one after the last of the stored clip, and how many of the played
        samples come before the window.
    """
    up, down = _ratio(speed)
    reach = len(_low_pass(speed)) // 2 // up + 1  # in samples of the stored clip
    periods = max(0, (start * down // up - reach) // down)
    last = min(total, -(-(start + count) * down // up) + reach)
    return periods * down, last, start - periods * up


def _ratio(speed: int) -> tuple[int, int]:
    divisor = math.gcd(speed, NORMAL)
    return speed // divisor, NORMAL // divisor


@cache
def _low_pass(speed: int) -> NDArray[np.float64]:
    """The filter of `scipy.signal.resample_poly`, which designs it anew in each call."""
    longer = max(_ratio(speed))
    return firwin(20 * longer + 1, 1.0 / longer, window=("kaiser", 5.0))


def frame_positions(first: int, num_frames: int, speed: int) -> NDArray[np.float32]:
    """The positions of a window's frames in the stored clip, (num_frames,) in frames.

    Args:
        first: first frame of the window in the played clip.
        num_frames: length of the window.
        speed: speed of the clip.
    """
    return ((first + np.arange(num_frames)) * (NORMAL / speed)).astype(np.float32)
