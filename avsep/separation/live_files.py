"""A file separated like a live stream: each voice is written as soon as it is settled."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from avsep.errors import CheckError, ItemError, as_command_error
from avsep.progress import StepProgress
from avsep.schema import FPS, RATE_HZ, SAMPLES_PER_FRAME
from avsep.separation.folder import LISTING, output_folder
from avsep.separation.left_out import sentences
from avsep.separation.listing import write_live_tracks
from avsep.separation.live import LiveChunk, LiveSeparator
from avsep.separation.recording import check_not_silent, normalised, normalised_note
from avsep.separation.separator import Separator
from avsep.separation.sounds import open_wav


@dataclass(frozen=True, kw_only=True)
class LiveResult:
    """The result of a file.

    Attributes:
        voices: the WAV files, one per speaker.
        notes: what a user should know of the recording, one sentence each.
        latency_s: longest time from a sample to its voice, without the time of the work.
        real_time_factor: seconds of work per second of recording.
    """

    voices: tuple[Path, ...]
    notes: tuple[str, ...]
    latency_s: float
    real_time_factor: float


def separate_live(
    separator: Separator, path: Path, target: Path, progress: StepProgress
) -> LiveResult:
    """Feed a file frame by frame and write `speaker<n>.wav` and `tracks.json` into the folder
    `target`.

    Raises:
        UsageError: the output cannot be written.
        CheckError: the file has no sound, no picture or no face, or is damaged.
    """
    from avsep.media.probe import probe

    live = separator.live()
    with output_folder(target) as folder, normalised(path) as source:
        with _Voices(folder) as voices:
            total = 0
            try:
                total = _run(live, source.path, voices, progress)
            except ItemError as error:
                raise as_command_error(path, error) from error
            voices.fill(total)
            numbers = voices.numbers
        explained = sentences(live.left_out, separator.config)
        if not numbers:
            none = f"no face is visible in {path.name}; voices are separated by faces."
            raise CheckError(" ".join([none, *explained]))
        names = [f"speaker{number}.wav" for number in numbers]
        notes = [normalised_note(path, source)] if source.note else []
        notes += explained
        start_s = probe(source.path).audio_start_s
        facts = [
            {
                "speaker": number,
                "seen_s": [
                    [round(start_s + first / FPS, 3), round(start_s + stop / FPS, 3)]
                    for first, stop in live.seen(number)
                ],
            }
            for number in numbers
        ]
        head = {
            "source": path.name,
            "start_s": round(start_s, 6),
            "fps": FPS,
            "num_frames": live.frames,
            "rate_hz": RATE_HZ,
            "num_samples": total,
            "model": separator.name,
            "left_out": [face.facts() for face in live.left_out],
            "notes": notes,
            "files": [*names, LISTING],
        }
        write_live_tracks(folder / LISTING, facts, head)
    return LiveResult(
        voices=tuple(target / name for name in names),
        notes=tuple(notes),
        latency_s=live.latency_s,
        real_time_factor=live.real_time_factor,
    )


def _run(live: LiveSeparator, path: Path, voices: _Voices, progress: StepProgress) -> int:
    """Separate the file; return the number of samples of its sound."""
    from avsep.media.decode import read_pictures
    from avsep.media.probe import probe

    info = probe(path)
    if not info.has_video or not info.has_audio:
        raise CheckError(f"{path.name} needs both a picture and sound.")
    count = math.ceil((info.audio_end_s - info.audio_start_s) * FPS)
    total, peak = 0, 0.0
    with progress("separate live", count) as advance:
        frames = read_pictures(path, info.audio_start_s, count + FPS)
        for frame, sound in zip(frames, _frames_of_sound(path), strict=False):
            total += len(sound)
            peak = max(peak, float(np.abs(sound).max(initial=0)))
            padded = np.pad(sound, (0, SAMPLES_PER_FRAME - len(sound)))
            voices.write(live.feed(frame, padded))
            advance(1)
        voices.write(live.finish())
    check_not_silent(path, peak)
    return total


def _frames_of_sound(path: Path) -> Iterator[np.ndarray]:
    """(640,) float32 per frame; the last one may be shorter."""
    from avsep.media.decode import stream_audio

    rest = np.zeros(0, np.int16)
    for _, samples in stream_audio(path):
        rest = np.concatenate([rest, samples])
        while len(rest) >= SAMPLES_PER_FRAME:
            yield rest[:SAMPLES_PER_FRAME].astype(np.float32) / 32768
            rest = rest[SAMPLES_PER_FRAME:]
    if len(rest):
        yield rest.astype(np.float32) / 32768


class _Voices(ExitStack):
    """The growing files of the speakers."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = folder
        self._files: dict[int, Any] = {}

    @property
    def numbers(self) -> list[int]:
        return sorted(self._files)

    def write(self, chunks: list[LiveChunk]) -> None:
        for chunk in chunks:
            file = self._file(chunk.speaker)
            _silence(file, chunk.start)  # while the face was away or had not appeared yet
            file.write(chunk.samples)

    def fill(self, total: int) -> None:
        """Make every file as long as the sound."""
        for file in self._files.values():
            _silence(file, total)
            file.truncate(total)

    def _file(self, number: int) -> Any:
        if number not in self._files:
            path = self._folder / f"speaker{number}.wav"
            self._files[number] = self.enter_context(open_wav(path, "PCM_16"))
        return self._files[number]


def _silence(file: Any, until: int) -> None:
    while (missing := until - file.tell()) > 0:
        file.write(np.zeros(min(missing, 10 * RATE_HZ), np.float32))
