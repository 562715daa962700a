"""The faces of a recording, followed in one pass, with their mouths and landmarks on disk."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from avsep.faces.backends import FaceBackend
from avsep.faces.config import FacesConfig
from avsep.faces.timing import StepTimer
from avsep.faces.track import FinishedTrack, TrackChunk
from avsep.faces.tracking import Tracker
from avsep.progress import StepProgress
from avsep.schema import LIPS_SIZE, NUM_LANDMARKS
from avsep.separation.config import SeparateConfig
from avsep.separation.disk_array import DiskArray
from avsep.separation.recording import Recording

MIN_TRACKLET_FRAMES = 10  # shorter sightings are no part of a speaker


@dataclass(frozen=True, eq=False)
class Stored:
    """What is on disk of a track.

    Attributes:
        lips: (T, 96, 96) uint8.
        points: (T, 68, 3) float16, in the analysis frame.
        squares: (T, 3) float32, the analysis squares in source pixels: left, top, side.
    """

    lips: DiskArray
    points: DiskArray
    squares: DiskArray

    @classmethod
    def of(cls, folder: Path, track_id: int) -> Stored:
        """The arrays of a new track."""
        return cls(
            DiskArray(folder / f"lips{track_id}.u8", "uint8", (LIPS_SIZE, LIPS_SIZE)),
            DiskArray(folder / f"points{track_id}.f16", "float16", (NUM_LANDMARKS, 3)),
            DiskArray(folder / f"squares{track_id}.f32", "float32", (3,)),
        )

    def append(self, chunk: TrackChunk) -> None:
        """Add the frames of a chunk."""
        self.lips.append(chunk.block.lips)
        self.points.append(chunk.block.points)
        self.squares.append(chunk.block.squares)

    def remove(self) -> None:
        """Delete the files."""
        for array in (self.lips, self.points, self.squares):
            array.remove()


@dataclass(frozen=True, eq=False)
class Tracklet:
    """A face followed without a break.

    Attributes:
        start: its first frame on the time line.
        first_box: (3,) centre x, centre y and side of the face there, in source pixels.
        last_box: likewise, where it was seen last.
        appearance: (2, 432) what it looked like at first and at last.
        valid: (T,) uint8, see `avsep.schema.Landmarks`.
        score: (T,) float16.
        stored: the rest.
    """

    start: int
    first_box: np.ndarray
    last_box: np.ndarray
    appearance: np.ndarray
    valid: np.ndarray
    score: np.ndarray
    stored: Stored

    @property
    def stop(self) -> int:
        """Frame after the last."""
        return self.start + len(self.valid)


def faces_config(config: SeparateConfig) -> FacesConfig:
    """The settings of the tracker."""
    return FacesConfig(
        detect_every=config.detect_every_n,
        min_face_px=config.min_face_px,
        min_track_frames=MIN_TRACKLET_FRAMES,
    )


def track_faces(
    recording: Recording,
    config: SeparateConfig,
    backend: FaceBackend,
    folder: Path,
    progress: StepProgress,
) -> list[Tracklet]:
    """Follow every face of a recording; by first frame, then from left to right."""
    stored: dict[int, Stored] = {}

    def keep(chunk: TrackChunk) -> None:
        if chunk.track_id not in stored:
            stored[chunk.track_id] = Stored.of(folder, chunk.track_id)
        stored[chunk.track_id].append(chunk)

    timeline = recording.timeline
    tracker = Tracker(faces_config(config), backend, StepTimer(), keep)
    frames = recording.pictures(timeline.first_picture, timeline.stop_picture)
    with progress("track faces", timeline.stop_picture - timeline.first_picture) as advance:
        for _ in tracker.steps(frames):
            advance(1)
    kept = tracker.finish().kept
    for track_id in stored.keys() - {track.track_id for track in kept}:
        stored[track_id].remove()
    return [_tracklet(track, timeline.first_picture, stored[track.track_id]) for track in kept]


def _tracklet(track: FinishedTrack, offset: int, stored: Stored) -> Tracklet:
    return Tracklet(
        start=track.start + offset,
        first_box=track.first_box,
        last_box=track.last_box,
        appearance=track.appearance,
        valid=track.valid,
        score=track.score,
        stored=stored,
    )
