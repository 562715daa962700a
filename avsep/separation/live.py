"""Separation while a recording comes in, with a bounded delay.

A chunk of sound is returned as soon as the look-ahead after it is known. The delay is the sum of
the chunk, the look-ahead of the model, and the frames over which the tracker smooths a face. The
model processes a whole window for each chunk (Dolphin attends to all of it, VoViT to its clips of
two seconds), so the work is that for a file times the window over the chunk.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from avsep.errors import UsageError
from avsep.faces.backends import FaceBackend
from avsep.faces.pictures import Picture
from avsep.faces.timing import StepTimer
from avsep.faces.track import TrackChunk
from avsep.faces.tracking import Tracker
from avsep.models.adapter import ModelAdapter
from avsep.schema import FPS, LIPS_SIZE, MISSING, NUM_LANDMARKS, SAMPLES_PER_FRAME, Cues
from avsep.separation.config import SeparateConfig
from avsep.separation.cross_fade import fade_in
from avsep.separation.left_out import LeftOut
from avsep.separation.speakers import gains_of
from avsep.separation.track_linking import assign
from avsep.separation.tracking import FaceSpan, faces_config, untracked

CHUNK_FRAMES = 10
AHEAD_FRAMES = 10
FADE = SAMPLES_PER_FRAME * 2  # samples of the cross-fade into a chunk, within the look-ahead


@dataclass(frozen=True, eq=False)
class LiveChunk:
    """Part of the voice of one speaker.

    Attributes:
        speaker: number, counted from 1 by first appearance.
        start: its first sample, counted from the start of the recording.
        samples: (n,) float32 in -1..1.
    """

    speaker: int
    start: int
    samples: np.ndarray


@dataclass(eq=False)
class _LiveSpeaker:
    """The last frames of a speaker; unknown ones are marked as missing."""

    number: int
    base: int  # frame of the first row
    lips: np.ndarray
    points: np.ndarray
    valid: np.ndarray
    track_ids: list[int] = field(default_factory=list)  # of its tracks, in order
    tail: np.ndarray | None = None  # of the last window, to fade from

    @classmethod
    def new(cls, number: int, base: int) -> _LiveSpeaker:
        return cls(
            number,
            base,
            np.zeros((0, LIPS_SIZE, LIPS_SIZE), np.uint8),
            np.zeros((0, NUM_LANDMARKS, 3), np.float32),
            np.zeros(0, np.uint8),
        )

    def put(self, chunk: TrackChunk) -> None:
        stop = chunk.start + len(chunk.valid)
        self._grow(stop)
        skip = max(0, self.base - chunk.start)
        rows = slice(chunk.start + skip - self.base, stop - self.base)
        if rows.stop <= rows.start:
            return
        self.lips[rows] = chunk.block.lips[skip:]
        self.points[rows] = chunk.block.points[skip:]
        self.valid[rows] = chunk.valid[skip:]

    def cues(self, first: int, stop: int) -> Cues:
        """The cues of frames first..stop; an unknown frame repeats the one before it."""
        self._grow(stop)
        rows = np.arange(first - self.base, stop - self.base).clip(min=0)
        known = np.where(self.valid != MISSING, np.arange(len(self.valid)), -1)
        held = np.maximum.accumulate(known)
        seen = np.flatnonzero(known >= 0)
        held[held < 0] = seen[0] if len(seen) else 0
        shown = held[rows]
        valid = np.where(np.arange(first, stop) < self.base, MISSING, self.valid[rows])
        return Cues(lips=self.lips[shown], landmarks=self.points[shown], valid=valid)

    def drop(self, before: int) -> None:
        """Drop the frames before a number, but keep the last one that showed the face."""
        first = min(before - self.base, len(self.valid) - 1)
        if first <= 0:
            return
        seen = np.flatnonzero(self.valid[: first + 1] != MISSING)
        held = int(seen[-1]) if len(seen) else 0
        for name in ("lips", "points"):
            rows = getattr(self, name)[first:].copy()
            rows[0] = getattr(self, name)[held]
            setattr(self, name, rows)
        self.valid, self.base = self.valid[first:].copy(), self.base + first

    def _grow(self, stop: int) -> None:
        more = stop - self.base - len(self.valid)
        if more > 0:
            self.lips = np.concatenate(
                [self.lips, np.zeros((more, *self.lips.shape[1:]), np.uint8)]
            )
            self.points = np.concatenate(
                [self.points, np.zeros((more, *self.points.shape[1:]), np.float32)]
            )
            self.valid = np.concatenate([self.valid, np.full(more, MISSING, np.uint8)])


class LiveSeparator:
    """Takes frames with their sound and returns the voices of the faces a bounded time later.

    Args:
        adapter: a loaded model.
        config: settings of windows, fades and tracking.
        backend: detects faces, one frame at a time.

    Attributes:
        frames: number of frames taken so far.
        busy_s: time spent so far.
        left_out: once it has ended, the faces without a voice.

    Raises:
        UsageError: the backend needs several frames at once.
    """

    def __init__(self, adapter: ModelAdapter, config: SeparateConfig, backend: FaceBackend) -> None:
        if backend.window != 1:
            raise UsageError(
                f"the face backend {backend.name} works in batches, not frame by frame."
            )
        self._adapter, self._config = adapter, config
        faces = faces_config(config)
        self._smoothing = faces.box_window + faces.mouth_window
        self._tracker = Tracker(faces, backend, StepTimer(), self._take, block=1)
        self._queue: deque[np.ndarray | Picture] = deque()
        self._steps = self._tracker.steps(self._frames())
        self._window = round(config.window_s * FPS)
        self._sound = np.zeros(0, np.float32)
        self._sound_base = 0  # sample of the first one kept
        self._speakers: list[_LiveSpeaker] = []
        self._seen: dict[int, FaceSpan] = {}  # by track_id, up to the last sighting
        self._done = 0  # frames returned
        self.frames = 0
        self.busy_s = 0.0
        self.left_out: list[LeftOut] = []

    @property
    def latency_s(self) -> float:
        """Longest time from a sample to its voice, in seconds, without the time of the work."""
        return (CHUNK_FRAMES + AHEAD_FRAMES + self._smoothing) / FPS

    @property
    def real_time_factor(self) -> float:
        """Seconds of work per second of recording; live needs less than 1."""
        return self.busy_s * FPS / max(1, self.frames)

    def seen(self, speaker: int) -> list[tuple[int, int]]:
        """First frame and frame after the last of each span in which a speaker was tracked."""
        spans = [self._seen[i] for i in self._speakers[speaker - 1].track_ids]
        return [(span.start, span.stop) for span in spans]

    def feed(self, frame: np.ndarray | Picture, sound: np.ndarray) -> list[LiveChunk]:
        """Take a frame and its sound; return what is ready.

        Args:
            frame: a picture, or (H, W, 3) uint8 RGB.
            sound: (640,) float32.
        """
        if sound.shape != (SAMPLES_PER_FRAME,):
            raise ValueError(f"the sound of a frame is {sound.shape}; give ({SAMPLES_PER_FRAME},).")
        started = time.perf_counter()
        self._queue.append(frame)
        next(self._steps)
        self._remember_tracks()
        self._sound = np.concatenate([self._sound, sound.astype(np.float32)])
        self.frames += 1
        ready: list[LiveChunk] = []
        wait = CHUNK_FRAMES + AHEAD_FRAMES + self._smoothing
        while self.frames - self._done >= wait:
            ready += self._chunk(self._done + CHUNK_FRAMES, self.frames - self._smoothing)
        self.busy_s += time.perf_counter() - started
        return ready

    def finish(self) -> list[LiveChunk]:
        """Return the rest once the recording has ended."""
        started = time.perf_counter()
        self.left_out = untracked(self._tracker.finish())
        ready: list[LiveChunk] = []
        while self._done < self.frames:
            ready += self._chunk(min(self._done + CHUNK_FRAMES, self.frames), self.frames)
        self.busy_s += time.perf_counter() - started
        return ready

    def _frames(self) -> Iterator[np.ndarray | Picture]:
        while True:
            yield self._queue.popleft()

    def _remember_tracks(self) -> None:
        for track in self._tracker.active:
            if not track.lost:
                self._seen[track.track_id] = FaceSpan(
                    start=track.start,
                    stop=track.start + len(track),
                    first_box=track.first_box,
                    last_box=track.box,
                    appearance=track.appearance,
                )

    def _take(self, chunk: TrackChunk) -> None:
        """Give settled frames of a track to its speaker, known or new."""
        speaker = next((s for s in self._speakers if chunk.track_id in s.track_ids), None)
        if speaker is None:
            speaker = self._speaker_of(chunk)
        speaker.put(chunk)

    def _speaker_of(self, chunk: TrackChunk) -> _LiveSpeaker:
        known = [[self._seen[i] for i in speaker.track_ids] for speaker in self._speakers]
        assigned = assign([self._seen[chunk.track_id]], known)
        if assigned:
            speaker = self._speakers[assigned[0]]
        else:
            speaker = _LiveSpeaker.new(len(self._speakers) + 1, chunk.start)
            self._speakers.append(speaker)
        speaker.track_ids.append(chunk.track_id)
        return speaker

    def _chunk(self, stop: int, known: int) -> list[LiveChunk]:
        """The voices up to frame `stop`, from a window that ends before frame `known`."""
        first = max(0, known - self._window)
        start = self._done
        sound_first = first * SAMPLES_PER_FRAME
        sound = self._sound[sound_first - self._sound_base :][: (known - first) * SAMPLES_PER_FRAME]
        before = max(0, first - self._adapter.context)
        chunks, heard = [], []
        for speaker in self._speakers:
            cues = speaker.cues(before, known)
            gain = gains_of(cues.valid, self._config)
            if gain[start - before : stop - before].any():
                heard.append((speaker, cues, gain))
            else:
                speaker.tail = None
        if heard:
            estimates = self._adapter(sound, [cues for _, cues, _ in heard], first - before)
            offset = (start - first) * SAMPLES_PER_FRAME
            for (speaker, _, gain), estimate in zip(heard, estimates, strict=True):
                samples = self._settle(speaker, estimate[offset:], stop)
                middles = np.arange(before, known) + 0.5 - start
                place = np.arange(len(samples)) / SAMPLES_PER_FRAME
                shaped = (samples * np.interp(place, middles, gain)).clip(-1, 1)
                at = start * SAMPLES_PER_FRAME
                chunks.append(LiveChunk(speaker.number, at, shaped.astype(np.float32)))
        self._done = stop
        oldest = max(0, known - self._window - self._adapter.context - CHUNK_FRAMES)
        for speaker in self._speakers:
            speaker.drop(oldest)
        keep = oldest * SAMPLES_PER_FRAME - self._sound_base
        if keep > 0:
            self._sound, self._sound_base = self._sound[keep:].copy(), self._sound_base + keep
        return chunks

    def _settle(self, speaker: _LiveSpeaker, estimate: np.ndarray, stop: int) -> np.ndarray:
        """The chunk, cross-faded from the estimate that the last window gave of its start."""
        length = (stop - self._done) * SAMPLES_PER_FRAME
        samples = estimate[:length].copy()
        if speaker.tail is not None:
            fade = min(len(speaker.tail), len(samples))
            ramp = (np.arange(fade, dtype=np.float32) + 0.5) / max(fade, 1)
            fade_in(samples, speaker.tail, ramp)
        speaker.tail = estimate[length : length + FADE].copy()
        return samples
