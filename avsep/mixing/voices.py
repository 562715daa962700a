"""Voices: samples that can be mixed, and where in them there is speech."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path

import numpy as np

from avsep.errors import CheckError, UsageError
from avsep.files import read_jsonl, write_jsonl
from avsep.media.level import active_frames, active_level_dbfs
from avsep.schema import RATE_HZ, SAMPLES_PER_FRAME
from avsep.settings import build

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


def write_voices(path: Path, voices: Iterable[Voice]) -> None:
    """Write voices, one per line."""
    write_jsonl(path, [asdict(voice) for voice in voices])


def read_voices(path: Path) -> list[Voice]:
    """Read voices that `write_voices` wrote.

    Raises:
        CheckError: the file is missing or damaged.
    """
    try:
        return [build(Voice, values, "voice") for values in read_jsonl(path)]
    except UsageError as error:
        raise CheckError(f"{path} is damaged ({error}); remove it and run mix again.") from error


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
    step = np.zeros(voice.num_frames + 1, np.int64)
    for first, last in voice.active:
        step[first] += 1
        step[last] -= 1
    total = np.concatenate([[0], np.cumsum(np.cumsum(step)[:-1])])
    inside = total[num_frames:] - total[:-num_frames]
    return np.flatnonzero(inside >= math.ceil(min_activity * num_frames - 1e-9))


class VoiceTable:
    """The voices of one split by speaker, for windows of one length. Small and picklable.

    Attributes:
        num_samples: length of a window at 16 kHz.
        min_activity: least share of a window's frames with speech.
        speakers: ids of the speakers, sorted.
    """

    def __init__(self, voices: Sequence[Voice], num_samples: int, min_activity: float) -> None:
        """Sort the voices and leave out those without a window.

        Raises:
            ValueError: the length is not a whole number of frames, or the share not in 0..1.
        """
        if num_samples <= 0 or num_samples % SAMPLES_PER_FRAME:
            raise ValueError(
                f"num_samples is {num_samples}; it must be a multiple of {SAMPLES_PER_FRAME}."
            )
        if not 0 <= min_activity <= 1:
            raise ValueError(f"min_activity is {min_activity}; it must be in 0..1.")
        self.num_samples, self.min_activity = num_samples, min_activity
        self._by_speaker: dict[str, list[Voice]] = {}
        for voice in sorted(voices, key=lambda voice: (voice.speaker, voice.key)):
            if math.isfinite(voice.level_dbfs) and len(self.starts(voice)):
                self._by_speaker.setdefault(voice.speaker, []).append(voice)
        self.speakers = tuple(self._by_speaker)

    @property
    def num_frames(self) -> int:
        """Length of a window in frames."""
        return self.num_samples // SAMPLES_PER_FRAME

    @property
    def voices(self) -> list[Voice]:
        """All voices, by speaker and key."""
        return [voice for voices in self._by_speaker.values() for voice in voices]

    def voices_of(self, speaker: str) -> list[Voice]:
        """The voices of one speaker."""
        return self._by_speaker[speaker]

    def starts(self, voice: Voice) -> np.ndarray:
        """The frames at which a window of this voice may start."""
        return window_starts(voice, self.num_frames, self.min_activity)

    @cached_property
    def has_pairs(self) -> bool:
        """Whether any two voices may be mixed: their speakers and their groups differ."""
        kinds = sorted({(voice.speaker, voice.group) for voice in self.voices})
        return any(
            one[0] != other[0] and one[1] != other[1]
            for number, one in enumerate(kinds)
            for other in kinds[number + 1 :]
        )
