"""The voices of the demo corpus: stored speech with timed phonemes."""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from avsep.corpora.demo.mesh import DATA
from avsep.corpora.demo.visemes import Phoneme
from avsep.schema import RATE_HZ

if TYPE_CHECKING:
    from numpy.typing import NDArray

NUM_SPEAKERS = 16
CLIPS_PER_VOICE = 24


@dataclass(frozen=True, kw_only=True)
class Voice:
    """The description of a voice.

    Attributes:
        gender: `f` or `m`.
        base: speech engine and dominant style. Voices with the same base sound alike: they differ
            only in the length of the vocal tract and in the share of other styles.
        misaki: whether the phonemes are in the notation of misaki; otherwise in that of espeak.
        texts: transcript of each clip.
        phonemes: phonemes of each clip, timed from its start.
    """

    gender: str
    base: str
    misaki: bool
    texts: tuple[str, ...]
    phonemes: tuple[tuple[Phoneme, ...], ...]


@functools.lru_cache(maxsize=NUM_SPEAKERS)
def load_voice(speaker: int) -> Voice:
    """Read the description of the voice of a speaker, 0 to 15."""
    header = json.loads((DATA / f"speaker{speaker:02d}.json").read_text("utf-8"))
    return Voice(
        gender={"female": "f", "male": "m"}[header["sex"]],
        base=base_voice(header["engine"], header["style"]),
        misaki=header["engine"] != "joe",
        texts=tuple(clip["text"] for clip in header["clips"]),
        phonemes=tuple(
            tuple(
                Phoneme(symbol, start / 1000, end / 1000)
                for symbol, start, end in zip(
                    clip["phonemes"], clip["start_ms"], clip["end_ms"], strict=True
                )
            )
            for clip in header["clips"]
        ),
    )


def base_voice(engine: str, style: dict[str, float] | None) -> str:
    """Engine and dominant style as one id; equal shares are ordered by name."""
    if not style:
        return engine
    return f"{engine}-{min(style, key=lambda name: (-style[name], name))}"


@functools.lru_cache(maxsize=2)
def load_speech(speaker: int) -> NDArray[np.int16]:
    """Decode all clips of a speaker, 0 to 15: (24, 48000) int16 at 16 kHz."""
    import soundfile

    samples, rate_hz = soundfile.read(DATA / f"speaker{speaker:02d}.opus", dtype="int16")
    if rate_hz != RATE_HZ or samples.ndim != 1 or len(samples) % CLIPS_PER_VOICE:
        raise ValueError(
            f"the voice of speaker {speaker} decodes to {samples.shape} at {rate_hz} Hz, not to"
            f" {CLIPS_PER_VOICE} mono clips at {RATE_HZ} Hz; reinstall the package."
        )
    return samples.reshape(CLIPS_PER_VOICE, -1)
