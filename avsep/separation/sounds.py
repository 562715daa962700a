"""Voices as sound files at the level of the input, and the mixture minus the voices."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from avsep.schema import RATE_HZ
from avsep.separation.disk_array import DiskArray
from avsep.separation.recording import Timeline

if TYPE_CHECKING:
    import soundfile

BLOCK = RATE_HZ  # samples handled at a time
FULL_SCALE = 32768
HIGHEST = (FULL_SCALE - 1) / FULL_SCALE  # largest sample of 16-bit sound


@dataclass(frozen=True, eq=False)
class Pcm:
    """Samples of an array on disk as the 16-bit numbers that the WAV file has.

    Attributes:
        samples: (n,) float32.
        gain: factor that keeps the peak within full scale.
    """

    samples: DiskArray
    gain: float = 1.0

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, span: slice) -> np.ndarray:
        scaled = np.rint(self.samples[span] * np.float32(self.gain * FULL_SCALE))
        return np.clip(scaled, -FULL_SCALE, FULL_SCALE - 1).astype(np.int16)


def leveled(voice: DiskArray) -> Pcm:
    """A voice at its own level, attenuated as a whole if its peak exceeds full scale."""
    peak = max((float(np.abs(voice[a:b]).max()) for a, b in _blocks(0, len(voice))), default=0.0)
    return Pcm(voice, min(1.0, HIGHEST / peak) if peak > 0 else 1.0)


def open_wav(path: Path, subtype: str) -> soundfile.SoundFile:
    """Open a mono WAV file for writing; `subtype` is `PCM_16` or `FLOAT`."""
    import soundfile

    # As bytes, since a name need not be UTF-8.
    name = os.fsencode(path)
    return soundfile.SoundFile(name, "w", RATE_HZ, 1, subtype=subtype, format="WAV")


def write_voice(path: Path, voice: Pcm, timeline: Timeline) -> None:
    """Write a voice as mono 16-bit WAV, as long as the sound of the recording."""
    first = timeline.sound_start
    with open_wav(path, "PCM_16") as file:
        for start, stop in _blocks(first, first + timeline.num_samples):
            file.write(voice[start:stop])


def write_residual(
    path: Path, mixture: DiskArray, voices: Sequence[Pcm], timeline: Timeline
) -> None:
    """Write the mixture minus the voices as they were written, as mono float WAV.

    Floats, because the difference may exceed full scale where an estimate is wrong.
    """
    first = timeline.sound_start
    with open_wav(path, "FLOAT") as file:
        for start, stop in _blocks(first, first + timeline.num_samples):
            rest = mixture[start:stop].astype(np.float64)
            for voice in voices:
                rest -= voice[start:stop] / FULL_SCALE
            file.write(rest.astype(np.float32))


def _blocks(start: int, stop: int) -> Iterator[tuple[int, int]]:
    for first in range(start, stop, BLOCK):
        yield first, min(first + BLOCK, stop)
