"""A recording of any length in overlapping windows, joined by cross-fades."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol

import numpy as np

from avsep.models.adapter import ModelAdapter
from avsep.progress import StepProgress
from avsep.schema import FPS, RATE_HZ, SAMPLES_PER_FRAME, Cues
from avsep.separation.config import SeparateConfig
from avsep.separation.disk_array import DiskArray
from avsep.separation.recording import Recording


class SpeakerCues(Protocol):
    """What separation needs of a speaker; see `avsep.separation.speakers`."""

    def cues(self, first: int, stop: int) -> Cues:
        """Cues of the frames first..stop, without batch axis."""
        ...

    def gains(self, config: SeparateConfig) -> np.ndarray:
        """(F,) float32 in 0..1, how much of the voice is kept in each frame."""
        ...


def window_spans(length: int, config: SeparateConfig) -> list[tuple[int, int]]:
    """First sample and sample after the last of each window over `length` samples.

    Windows start on video frames and are equally long. The last one ends with the recording and is
    up to one video frame longer.
    """
    window = round(config.window_s * FPS) * SAMPLES_PER_FRAME
    hop = window - round(config.overlap_s * FPS) * SAMPLES_PER_FRAME
    if length <= window:
        return [(0, length)]
    last = (length - window) // SAMPLES_PER_FRAME * SAMPLES_PER_FRAME
    starts = [*range(0, last, hop), last]
    return [*((start, start + window) for start in starts[:-1]), (last, length)]


class CrossFader:
    """Joins stretches that overlap, in the middle of what they share.

    Near its edges a stretch lacks context; what lies outside the cross-fade is not used.

    Args:
        fade: samples; a shorter overlap is faded as a whole.
    """

    def __init__(self, fade: int) -> None:
        self._fade = fade
        self._pending: np.ndarray | None = None
        self._done = 0

    def push(self, start: int, estimate: np.ndarray) -> np.ndarray:
        """Take a stretch (S, n) from sample `start` on; returns what is settled, (S, m)."""
        if self._pending is None:
            self._pending, self._done = estimate, start
            return estimate[:, :0]
        shared = self._done + self._pending.shape[1] - start
        fade = min(self._fade, shared)
        joint = start + (shared - fade) // 2  # first sample of the cross-fade
        ramp = 0.5 - 0.5 * np.cos(np.arange(fade, dtype=np.float32) * (math.pi / max(fade, 1)))
        settled = self._pending[:, : joint - self._done]
        old = self._pending[:, joint - self._done :][:, :fade]
        new = estimate[:, joint - start :].copy()
        new[:, :fade] = old + (new[:, :fade] - old) * ramp
        self._pending, self._done = new, joint
        return settled

    def finish(self) -> np.ndarray:
        """The rest, (S, m)."""
        return np.zeros((0, 0), np.float32) if self._pending is None else self._pending


def separate_recording(
    recording: Recording,
    speakers: Sequence[SpeakerCues],
    adapter: ModelAdapter,
    voices: Sequence[DiskArray],
    config: SeparateConfig,
    progress: StepProgress,
) -> None:
    """Append each speaker's voice, (total_samples,) float32, to its array."""
    total = recording.timeline.total_samples
    spans = window_spans(total, config)
    gains = [speaker.gains(config) for speaker in speakers]
    fader = CrossFader(round(min(config.fade_s, config.overlap_s) * RATE_HZ))
    done = 0
    with progress("separate", len(spans)) as advance:
        for start, stop in spans:
            estimate = _stretch(recording, speakers, gains, adapter, start, stop)
            done = _write(fader.push(start, estimate), done, voices, gains)
            advance(1)
        _write(fader.finish(), done, voices, gains)


def _stretch(
    recording: Recording,
    speakers: Sequence[SpeakerCues],
    gains: Sequence[np.ndarray],
    adapter: ModelAdapter,
    start: int,
    stop: int,
) -> np.ndarray:
    """(S, stop - start) float32; zeros for who is away all the time."""
    first, last = start // SAMPLES_PER_FRAME, -(-stop // SAMPLES_PER_FRAME)
    before = max(first - adapter.context, 0)
    after = min(last + adapter.context, recording.timeline.num_frames)
    heard = [i for i, gain in enumerate(gains) if gain[first:last].any()]
    estimate = np.zeros((len(speakers), stop - start), np.float32)
    if heard:
        cues = [speakers[i].cues(before, after) for i in heard]
        estimate[heard] = adapter(recording.mixture[start:stop], cues, first - before)
    return estimate


def _write(
    piece: np.ndarray, done: int, voices: Sequence[DiskArray], gains: Sequence[np.ndarray]
) -> int:
    """Append a settled piece (S, m), faded where faces are away; returns the samples so far."""
    if piece.size == 0:
        return done
    place = (done + np.arange(piece.shape[1])) / SAMPLES_PER_FRAME - 0.5  # between frame middles
    for voice, gain, samples in zip(voices, gains, piece, strict=True):
        low = int(place[0]) - 1
        near = np.arange(max(0, low), min(len(gain), int(place[-1]) + 3))
        voice.append(samples * np.interp(place, near, gain[near]).astype(np.float32))
    return done + piece.shape[1]
