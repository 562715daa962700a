"""Scenes of demo heads that speak in turns, at once, or are only heard; who speaks is known."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from avsep.corpora.demo import motion, visemes
from avsep.corpora.demo.corpus import load_head
from avsep.corpora.demo.render import Renderer
from avsep.corpora.demo.voices import load_speech, load_voice
from avsep.schema import FPS, RATE_HZ, SAMPLES_PER_FRAME

CLIP_FRAMES = 75  # of a sentence of the demo corpus
PAUSE = 15  # frames: so long nobody else takes a turn
EYES_DM = 0.9  # distance of the outer eye corners of a head, about, in decimetres


@dataclass(frozen=True)
class Turn:
    """One speaker says sentences, one after the other.

    Attributes:
        speaker: number of the speaker in the demo corpus.
        start: first frame.
        clips: numbers of the sentences.
        gain: factor on the sound.
    """

    speaker: int
    start: int
    clips: tuple[int, ...]
    gain: float = 1.0

    @property
    def stop(self) -> int:
        return self.start + CLIP_FRAMES * len(self.clips)


@dataclass(frozen=True, eq=False)
class Scene:
    """A scene of T frames.

    Attributes:
        audio: (640 T,) int16.
        voices: who is heard: (T,) bool by speaker, where their own sound is loud.
        weights: (T, face units) by speaker that is seen.
        moves: motion by speaker that is seen.
    """

    audio: np.ndarray
    voices: dict[int, np.ndarray]
    weights: dict[int, np.ndarray]
    moves: dict[int, motion.Motion]

    @property
    def num_frames(self) -> int:
        return len(self.audio) // SAMPLES_PER_FRAME

    def alone(self, speaker: int) -> np.ndarray:
        """Where only this speaker is heard, (T,) bool."""
        others = [heard for who, heard in self.voices.items() if who != speaker]
        return self.voices[speaker] & ~np.any([*others, np.zeros(self.num_frames, bool)], axis=0)

    def openings(self, speaker: int, seed: int) -> np.ndarray:
        """(T,) opening of the lips over the distance between the eyes, as noisy as landmarks."""
        drawn = Renderer(load_head(seed, speaker), 64).openings(self.weights[speaker]) / EYES_DM
        noise = np.random.default_rng([seed, speaker]).normal(0, 0.004, len(drawn))
        return drawn + noise

    def pictures(self, speaker: int, seed: int, size: int) -> Iterator[np.ndarray]:
        """(size, size, 3) pictures of the head of a speaker."""
        rng = np.random.default_rng([seed, speaker, 99])
        scene = motion.draw_scene(rng, self.num_frames, size)
        drawn = Renderer(load_head(seed, speaker), size).frames(
            self.weights[speaker], self.moves[speaker], scene
        )
        return (picture for picture, _ in drawn)


def make_scene(turns: Sequence[Turn], seen: Sequence[int], num_frames: int, seed: int) -> Scene:
    """A scene in which the seen speakers keep their mouths shut while others speak."""
    audio = np.zeros(num_frames * SAMPLES_PER_FRAME)
    voices, weights, moves = {}, {}, {}
    for speaker in sorted({turn.speaker for turn in turns} | set(seen)):
        own = np.zeros_like(audio)
        spans: list[visemes.Segment] = []
        voice = load_voice(speaker)
        for turn in turns:
            if turn.speaker != speaker:
                continue
            for place, clip in enumerate(turn.clips):
                first = turn.start + place * CLIP_FRAMES
                sound = load_speech(speaker)[clip][: CLIP_FRAMES * SAMPLES_PER_FRAME]
                at = first * SAMPLES_PER_FRAME
                own[at : at + len(sound)] += turn.gain * sound
                later = first / FPS
                spans += [
                    replace(span, start_s=span.start_s + later, end_s=span.end_s + later)
                    for span in visemes.segments(voice.phonemes[clip], misaki=voice.misaki)
                ]
        audio += own
        voices[speaker] = _heard(own)
        if speaker in seen:
            loud = visemes.loudness(own.astype(np.int16), RATE_HZ, FPS, num_frames)
            if not own.any():
                loud = np.zeros(num_frames)
            head = load_head(seed, speaker)
            curves = visemes.mouth_curves(spans, num_frames, FPS, loud, head.identity.articulation)
            rng = np.random.default_rng([seed, speaker, 7])
            moves[speaker] = motion.draw_motion(rng, loud, FPS)
            weights[speaker] = visemes.unit_weights(
                curves, moves[speaker].blink, moves[speaker].brow
            )
    room = np.random.default_rng(seed).normal(0, 8, len(audio))
    mixed = np.clip(audio + room, -32768, 32767).astype(np.int16)
    return Scene(audio=mixed, voices=voices, weights=weights, moves=moves)


def _heard(sound: np.ndarray) -> np.ndarray:
    """The frames within 30 dB of the loudest, and pauses within a sentence, (T,) bool."""
    power = (sound.reshape(-1, SAMPLES_PER_FRAME) ** 2).mean(axis=1)
    heard = power > max(power.max() * 1e-3, 1.0)
    loud = np.flatnonzero(heard)
    for one, other in pairwise(loud):
        if other - one <= PAUSE:
            heard[one:other] = True
    return heard
