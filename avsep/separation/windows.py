"""A recording of any length in overlapping windows, joined by cross-fades."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from avsep.models.adapter import ModelAdapter
from avsep.progress import StepProgress
from avsep.schema import FPS, RATE_HZ, SAMPLES_PER_FRAME, Cues
from avsep.separation.config import SeparateConfig
from avsep.separation.cross_fade import CrossFader
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


def separate_recording(
    recording: Recording,
    speakers: Sequence[SpeakerCues],
    adapter: ModelAdapter,
    voices: Sequence[DiskArray],
    config: SeparateConfig,
    progress: StepProgress,
) -> None:
    """Append the voice of each speaker, (total_samples,) float32, to its array."""
    spans = window_spans(recording.timeline.total_samples, config)
    gains = [speaker.gains(config) for speaker in speakers]
    fader = CrossFader(round(min(config.fade_s, config.overlap_s) * RATE_HZ))
    done = 0
    with progress("separate", len(spans)) as advance:
        for start, stop in spans:
            estimate = _separate_window(recording, speakers, gains, adapter, start, stop)
            done = _write(fader.push(start, estimate), done, voices, gains)
            advance(1)
        _write(fader.finish(), done, voices, gains)


def _separate_window(
    recording: Recording,
    speakers: Sequence[SpeakerCues],
    gains: Sequence[np.ndarray],
    adapter: ModelAdapter,
    start: int,
    stop: int,
) -> np.ndarray:
    """(S, stop - start) float32; zeros for a speaker who is away all the time."""
    first, last = start // SAMPLES_PER_FRAME, -(-stop // SAMPLES_PER_FRAME)
    before = max(first - adapter.context, 0)
    after = min(last + adapter.context, recording.timeline.num_frames)
    audible = [i for i, gain in enumerate(gains) if gain[first:last].any()]
    estimate = np.zeros((len(speakers), stop - start), np.float32)
    if audible:
        cues = [speakers[i].cues(before, after) for i in audible]
        estimate[audible] = adapter(recording.mixture[start:stop], cues, first - before)
    return estimate


def _write(
    settled: np.ndarray, done: int, voices: Sequence[DiskArray], gains: Sequence[np.ndarray]
) -> int:
    """Append settled samples (S, m), faded where faces are away; return the number so far."""
    if settled.size == 0:
        return done
    place = (done + np.arange(settled.shape[1])) / SAMPLES_PER_FRAME - 0.5  # between frame middles
    for voice, gain, samples in zip(voices, gains, settled, strict=True):
        low = int(place[0]) - 1
        near = np.arange(max(0, low), min(len(gain), int(place[-1]) + 3))
        voice.append(samples * np.interp(place, near, gain[near]).astype(np.float32))
    return done + settled.shape[1]
