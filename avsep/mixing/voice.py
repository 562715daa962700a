"""A voice: a sample that can be mixed, and where in it there is speech."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from avsep.media.level import active_frames, active_level_dbfs
from avsep.schema import RATE_HZ

LEVEL_DIGITS = 4  # decimals of levels and gains in dB; more would only record rounding errors


@dataclass(frozen=True, kw_only=True)
class Voice:
    """A sample that can be one voice of a mixture.

    Attributes:
        key: sample key.
        speaker: speaker id.
        group: group id.
        gender: `f`, `m` or empty.
        num_frames: length in frames, at 25 frames per second.
        level_dbfs: active level of the whole sample; minus infinity for silence.
        sha256: sha256 of the sound.
        active: runs of frames with speech, as (first, one past the last), sorted.
    """

    key: str
    speaker: str
    group: str
    gender: str
    num_frames: int
    level_dbfs: float
    sha256: str
    active: tuple[tuple[int, int], ...]

    def __post_init__(self) -> None:
        edges = [0, *(edge for run in self.active for edge in run), self.num_frames]
        if any(one > other for one, other in pairwise(edges)):
            raise ValueError(
                f"the runs with speech {self.active} of {self.key} are not sorted, or not within"
                f" its {self.num_frames} frames."
            )


def find_activity(audio: np.ndarray) -> tuple[float, tuple[tuple[int, int], ...]]:
    """The active level of a sample in dBFS, and the runs of its frames with speech.

    Args:
        audio: sound of the sample, (640 T,) int16 at 16 kHz.
    """
    level_dbfs = active_level_dbfs(audio, RATE_HZ)
    active = active_frames(audio, level_dbfs)
    edges = np.flatnonzero(np.diff(active, prepend=False, append=False))
    runs = tuple((int(a), int(b)) for a, b in edges.reshape(-1, 2))
    return (round(level_dbfs, LEVEL_DIGITS) if runs else -math.inf), runs


def window_starts(voice: Voice, num_frames: int, min_activity: float) -> np.ndarray:
    """The frames at which a window may start, because enough of its frames have speech.

    Args:
        voice: the voice.
        num_frames: length of the window in frames.
        min_activity: least share of the window's frames with speech, 0..1.

    Returns:
        Frame numbers, (starts,) int64, sorted; empty if no window has enough speech.
    """
    if voice.num_frames < num_frames:
        return np.zeros(0, np.int64)
    total = np.concatenate([[0], np.cumsum(_speech(voice))])
    inside = total[num_frames:] - total[:-num_frames]
    return np.flatnonzero(inside >= frames_needed(num_frames, min_activity))


def frames_needed(num_frames: int, min_activity: float) -> int:
    """How many frames of a window of `num_frames` must have speech."""
    return math.ceil(min_activity * num_frames - 1e-9)


def _speech(voice: Voice) -> np.ndarray:
    """Whether each frame has speech, (num_frames,)."""
    edges = np.array(voice.active, np.intp).reshape(-1, 2)
    size = voice.num_frames + 1
    step = np.bincount(edges[:, 0], minlength=size) - np.bincount(edges[:, 1], minlength=size)
    return np.cumsum(step[:-1])
