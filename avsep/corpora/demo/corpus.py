"""The speakers and clips of the demo corpus, and how one clip is made.

Speakers with the same base voice (see `voices.base_voice`) are in the same group:

    kokoro-jf_alpha       0 12        kokoro-jm_kumo   1 5 9 13
    kokoro-jf_nezumi      2 14        joe              3 7 11 15
    kokoro-jf_gongitsune  4           hibari           6 10
    kokoro-jf_tebukuro    8
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from avsep.corpora.demo.voices import load_speech, load_voice
from avsep.schema import FPS, RATE_HZ, SAMPLES_PER_FRAME

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from avsep.corpora.demo.config import DemoConfig
    from avsep.corpora.demo.head import Head

CORPUS = "demo"
VERSION = 1  # increase it with every change of frames, sound or ids
SIZE = 224  # side of the picture, in pixels
LICENCE = "CC0-1.0 AND Apache-2.0"


@dataclass(frozen=True, kw_only=True)
class DemoClip:
    """One clip of the demo corpus.

    Attributes:
        speaker: number of the speaker, 0 to 15.
        number: number of the clip among those of its voice, 0 to 23.
    """

    speaker: int
    number: int

    @property
    def clip_id(self) -> str:
        """For example `demo-s03-c07`."""
        return f"{speaker_id(self.speaker)}-c{self.number:02d}"

    @property
    def path(self) -> str:
        """Path relative to the folder of raw clips."""
        return f"{CORPUS}/{self.clip_id}.mp4"


def speaker_id(speaker: int) -> str:
    """For example `demo-s03`."""
    return f"{CORPUS}-s{speaker:02d}"


def group_id(speaker: int) -> str:
    """The base voice of a speaker as an id, for example `demo-voice-hibari`."""
    return f"{CORPUS}-voice-{load_voice(speaker).base}"


def clips_of(config: DemoConfig, speaker: int, split: str) -> list[DemoClip]:
    """The clips of one speaker, in order."""
    return [DemoClip(speaker=speaker, number=k) for k in range(config.num_clips(split))]


@functools.lru_cache(maxsize=2)
def load_head(seed: int, speaker: int) -> Head:
    """The head of a speaker, cached for the last two."""
    from avsep.corpora.demo.head import build_head
    from avsep.corpora.demo.identity import draw_identity
    from avsep.corpora.demo.mesh import load_template

    template = load_template()
    identity = draw_identity(
        np.random.default_rng([seed, speaker]),
        seed=seed * 1000 + speaker,
        female=load_voice(speaker).gender == "f",
        available=template.deltas.keys(),
    )
    return build_head(template, identity)


@dataclass(frozen=True, kw_only=True, eq=False)
class Talk:
    """One clip of T frames before it is drawn.

    Attributes:
        audio: (640 T,) int16 at 16 kHz.
        weights: (T, face units), see `visemes.unit_weights`.
        frames: yields each picture, (size, size, 3) uint8 RGB, with the opening of the lips.
    """

    audio: NDArray[np.int16]
    weights: NDArray[np.float64]
    frames: Iterator[tuple[NDArray[np.uint8], float]]


def talk(clip: DemoClip, *, seed: int, size: int = SIZE, num_frames: int | None = None) -> Talk:
    """Prepare one clip: its sound, its motion and the renderer of its frames.

    Args:
        clip: the clip.
        seed: seed of the corpus; it decides heads, motion, light and backgrounds.
        size: side of the picture, in pixels.
        num_frames: number of frames, for tests; None for the whole clip.
    """
    from avsep.corpora.demo import motion, visemes
    from avsep.corpora.demo.render import Renderer

    voice = load_voice(clip.speaker)
    audio = load_speech(clip.speaker)[clip.number]
    total = len(audio) // SAMPLES_PER_FRAME
    rng = np.random.default_rng([seed, clip.speaker, clip.number])
    head = load_head(seed, clip.speaker)
    loud = visemes.loudness(audio, RATE_HZ, FPS, total)
    spans = visemes.segments(voice.phonemes[clip.number], misaki=voice.misaki)
    curves = visemes.mouth_curves(spans, total, FPS, loud, head.identity.articulation)
    moves = motion.draw_motion(rng, loud, FPS)
    scene = motion.draw_scene(rng, total, size)
    weights = visemes.unit_weights(curves, moves.blink, moves.brow)[:num_frames]
    return Talk(
        audio=audio[: len(weights) * SAMPLES_PER_FRAME],
        weights=weights,
        frames=Renderer(head, size).frames(weights, moves, scene),
    )


def write_clip(clip: DemoClip, path: Path, *, seed: int) -> None:
    """Render one clip and write it as MP4 (H.264 and AAC)."""
    from avsep.media.encode import write_mp4

    prepared = talk(clip, seed=seed)
    frames = (picture for picture, _ in prepared.frames)
    write_mp4(path, frames, prepared.audio, rate_hz=RATE_HZ, fps=FPS)
