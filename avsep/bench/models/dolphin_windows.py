"""Separation of long recordings in windows by full-size Dolphin, as `avsep separate` does it."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import nullcontext
from functools import partial
from pathlib import Path

import numpy as np

from avsep.bench.models.dolphin import DolphinBench, build_model
from avsep.bench.timing import time_once
from avsep.faces.pictures import Picture
from avsep.machine import memory_mb
from avsep.models.dolphin.adapter import DolphinAdapter
from avsep.progress import hidden_progress
from avsep.schema import FPS, LIPS_SIZE, SAMPLES_PER_FRAME, Cues
from avsep.separation.config import SeparateConfig
from avsep.separation.disk_array import DiskArray
from avsep.separation.recording import Timeline
from avsep.separation.windows import separate_recording

COLUMNS = {
    "audio_s": "audio, s",
    "wall_per_s": "wall per s of audio",
    "cpu_per_s": "CPU s per s of audio",
    "peak_memory_mb": "peak memory, MiB",
}


def bench_windows(settings: DolphinBench, audio_s: float) -> dict[str, float]:
    """Time and memory of separating one voice from a recording of `audio_s` seconds."""
    return settings.in_child(_separate_in_windows, audio_s)


# --- in a child process


class _NoiseRecording:
    """A recording of noise, with the sound on disk and without pictures."""

    name = "noise"
    notes: tuple[str, ...] = ()

    def __init__(self, folder: Path, num_frames: int) -> None:
        self.timeline = Timeline(
            start_s=0.0,
            num_frames=num_frames,
            first_picture=0,
            stop_picture=num_frames,
            sound_start=0,
            num_samples=num_frames * SAMPLES_PER_FRAME,
            width=LIPS_SIZE,
            height=LIPS_SIZE,
        )
        self.mixture = DiskArray(folder / "mixture.f32", "float32")
        rng = np.random.default_rng(0)
        for _ in range(num_frames):
            noise = rng.standard_normal(SAMPLES_PER_FRAME, np.float32)
            self.mixture.append(np.float32(0.1) * noise)

    def pictures(self, first: int, stop: int) -> Iterator[Picture]:
        """No pictures: the mouths come from `_StillMouth`."""
        yield from ()


class _StillMouth:
    """A speaker whose mouth is one random picture, so that the input takes no memory."""

    def __init__(self, num_frames: int) -> None:
        self._num_frames = num_frames
        rng = np.random.default_rng(0)
        self._picture = rng.integers(0, 256, (1, LIPS_SIZE, LIPS_SIZE), dtype=np.uint8)

    def cues(self, first: int, stop: int) -> Cues:
        """The same picture in every frame."""
        lips = np.broadcast_to(self._picture, (stop - first, LIPS_SIZE, LIPS_SIZE))
        return Cues(lips=lips, landmarks=None, valid=None)

    def gains(self, _config: SeparateConfig) -> np.ndarray:
        """The face is never away."""
        return np.ones(self._num_frames, np.float32)


def _separate_in_windows(settings: DolphinBench, audio_s: float) -> dict[str, float]:
    config = SeparateConfig()
    adapter = DolphinAdapter(build_model(settings), nullcontext())

    def separate(seconds: float, folder: Path) -> tuple[float, float]:
        num_frames = max(1, round(seconds * FPS))
        recording = _NoiseRecording(folder, num_frames)
        voice = DiskArray(folder / "voice.f32", "float32")

        run = partial(
            separate_recording,
            recording,
            [_StillMouth(num_frames)],
            adapter,
            [voice],
            config,
            hidden_progress,
        )
        times = time_once(run, settings.device)
        assert len(voice) == recording.timeline.total_samples
        return times

    with tempfile.TemporaryDirectory() as name:
        warm_up, measured = Path(name, "warm-up"), Path(name, "measured")
        for folder in (warm_up, measured):
            folder.mkdir()
        separate(config.window_s, warm_up)
        wall_s, cpu_s = separate(audio_s, measured)
    return {
        "audio_s": audio_s,
        "wall_per_s": wall_s / audio_s,
        "cpu_per_s": cpu_s / audio_s,
        "peak_memory_mb": memory_mb("peak", settings.device),
    }
