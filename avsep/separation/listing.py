"""`tracks.json`: where each face was in each frame. Written row by row, since it can be long."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from avsep.files import dump_json
from avsep.schema import FPS, INTERPOLATED, MISSING, RATE_HZ, TURNED
from avsep.separation.recording import Recording
from avsep.separation.speakers import Speaker
from avsep.separation.videos import scaled_boxes

VERSION = 1
CHUNK = 50  # frames read from disk at a time


def speaker_facts(speaker: Speaker, start_s: float) -> dict[str, Any]:
    """Number of a speaker, times in seconds when the face was visible, share of frames with it."""
    return {
        "speaker": speaker.number,
        "seen_share": round(float((speaker.valid != MISSING).mean()), 4),
        "seen_s": [
            [round(start_s + first / FPS, 3), round(start_s + stop / FPS, 3)]
            for first, stop in speaker.spans
        ],
    }


def recording_facts(recording: Recording) -> dict[str, Any]:
    """Name, sizes and rates of a recording."""
    timeline = recording.timeline
    return {
        "source": recording.name,
        "start_s": round(timeline.start_s, 6),
        "fps": FPS,
        "num_frames": timeline.num_frames,
        "width": timeline.width,
        "height": timeline.height,
        "rate_hz": RATE_HZ,
        "num_samples": timeline.num_samples,
        "sound_start_s": round(timeline.start_s + timeline.sound_start / RATE_HZ, 6),
    }


def write_tracks(
    path: Path,
    recording: Recording,
    speakers: Sequence[Speaker],
    facts: Sequence[dict[str, Any]],
    head: dict[str, Any],
    scale: float,
) -> None:
    """Write the listing.

    Args:
        path: path of the file.
        recording: the recording that was separated.
        speakers: the speakers to list.
        facts: plain values about each speaker.
        head: plain values about the separation.
        scale: side of the listed boxes, in sides of the face boxes.
    """
    with _listing(path, head) as file:
        for index, (speaker, fact) in enumerate(zip(speakers, facts, strict=True)):
            own = dump_json(fact, indent=None)
            file.write((",\n" if index else "\n") + own[:-1] + ', "frames": [')
            _write_frames(file, recording, speaker, scale)
            file.write("]}")


def write_live_tracks(path: Path, facts: Sequence[dict[str, Any]], head: dict[str, Any]) -> None:
    """Write the listing of a live stream, without rows per frame; arguments as `write_tracks`."""
    with _listing(path, head) as file:
        for index, fact in enumerate(facts):
            file.write((",\n" if index else "\n") + dump_json(fact, indent=None))


@contextmanager
def _listing(path: Path, head: dict[str, Any]) -> Iterator[TextIO]:
    """The head on a line of its own, which `folder` reads, and the end; yields for the speakers."""
    text = dump_json({"version": VERSION, **head}, indent=None)
    with path.open("w", encoding="utf-8") as file:
        file.write(text[:-1] + ', "speakers": [')
        yield file
        file.write("\n]}\n")


def _write_frames(file: TextIO, recording: Recording, speaker: Speaker, scale: float) -> None:
    """Write one row per frame in which the face is tracked."""
    comma = "\n"
    start_s = recording.timeline.start_s
    for low, high in speaker.spans:
        for first in range(low, high, CHUNK):
            stop = min(first + CHUNK, high)
            boxes = scaled_boxes(speaker.squares(first, stop), scale)
            points = speaker.source_points(first, stop)
            for frame, box, face in zip(range(first, stop), boxes, points, strict=True):
                left, top, side = (round(float(value), 1) for value in box)
                row = {
                    "frame": frame,
                    "time_s": round(start_s + frame / FPS, 3),
                    "box": [left, top, side, side],
                    "confidence": round(float(speaker.score[frame]), 3),
                    "interpolated": int(speaker.valid[frame]) == INTERPOLATED,
                    "turned": int(speaker.valid[frame]) == TURNED,
                    "landmarks": [[round(float(x), 1), round(float(y), 1)] for x, y in face],
                }
                file.write(comma + dump_json(row, indent=None))
                comma = ",\n"
