"""A recording of any length in overlapping windows, joined by cross-fades."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from avsep.models.adapter import ModelAdapter
from avsep.progress import StepProgress
from avsep.schema import FPS, RATE_HZ, SAMPLES_PER_FRAME, Cues
from avsep.separation.config import SeparateConfig
from avsep.separation.cross_fade import CrossFader
from avsep.separation.disk_array import DiskArray
from avsep.separation.recording import Recording

STRETCH = 200  # frames whose features are computed at once, with the context about them


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
    views = [_View(adapter, speaker, recording.timeline.num_frames) for speaker in speakers]
    at_once = max(1, adapter.at_once // max(1, len(speakers)))
    done = 0
    with progress("separate", len(spans)) as advance:
        for first in range(0, len(spans), at_once):
            few = spans[first : first + at_once]
            estimates = _separate_windows(recording, views, gains, adapter, few)
            for (start, _), estimate in zip(few, estimates, strict=True):
                done = _write(fader.push(start, estimate), done, voices, gains)
                advance(1)
        _write(fader.finish(), done, voices, gains)


def _separate_windows(
    recording: Recording,
    views: Sequence[_View],
    gains: Sequence[np.ndarray],
    adapter: ModelAdapter,
    spans: Sequence[tuple[int, int]],
) -> list[np.ndarray]:
    """(S, n) float32 per window; zeros for a speaker who is away all the time."""
    estimates = [np.zeros((len(views), stop - start), np.float32) for start, stop in spans]
    # Those of one shape go through the model together: (window, speaker, cues).
    groups: dict[tuple[int, int, int], list[tuple[int, int, Cues | Tensor]]] = {}
    for window, (start, stop) in enumerate(spans):
        first, last = start // SAMPLES_PER_FRAME, -(-stop // SAMPLES_PER_FRAME)
        for speaker, (view, gain) in enumerate(zip(views, gains, strict=True)):
            if gain[first:last].any():
                seen, before, frames = view.of(first, last)
                groups.setdefault((stop - start, before, frames), []).append(
                    (window, speaker, seen)
                )
    for (_, before, _), items in groups.items():
        sounds = np.stack([recording.mixture[slice(*spans[window])] for window, _, _ in items])
        found = adapter(sounds, [seen for _, _, seen in items], before)
        for (window, speaker, _), voice in zip(items, found, strict=True):
            estimates[window][speaker] = voice
    return estimates


class _View:
    """What the model sees of a speaker, window by window in order of time.

    Features that each frame has by itself are computed once, although windows overlap and the model
    wants to see frames beyond them.
    """

    def __init__(self, adapter: ModelAdapter, speaker: SpeakerCues, num_frames: int) -> None:
        self._adapter, self._speaker, self._num_frames = adapter, speaker, num_frames
        self._kept: Tensor | None = None  # features of the frames from `_first` on
        self._first = self._stop = 0
        self._by_window = False

    def of(self, first: int, last: int) -> tuple[Cues | Tensor, int, int]:
        """Features or cues of the frames first..last, those before the window, and all of them."""
        if not self._by_window:
            self._compute(first, last)
            if self._kept is not None:
                return self._kept[first - self._first : last - self._first], 0, last - first
            self._by_window = True
        before, after = self._around(first, last)
        return self._speaker.cues(before, after), first - before, after - before

    def _around(self, first: int, last: int) -> tuple[int, int]:
        context = self._adapter.context
        return max(first - context, 0), min(last + context, self._num_frames)

    def _compute(self, first: int, last: int) -> None:
        """Have the features of first..last, computed in stretches, and forget those before."""
        if first >= self._stop:
            self._kept, self._first, self._stop = None, first, first
        elif self._kept is not None:
            self._kept, self._first = self._kept[first - self._first :], first
        if self._stop >= last:
            return
        stop = min(max(last, self._stop + STRETCH), self._num_frames)
        before, after = self._around(self._stop, stop)
        found = self._adapter.features(self._speaker.cues(before, after))
        if found is not None:
            new = found[self._stop - before : stop - before]
            self._kept = new if self._kept is None else torch.cat([self._kept, new])
            self._stop = stop


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
