"""The faces of a recording, tracked in one pass, with their mouths and landmarks on disk."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from avsep.faces.backends import FaceBackend
from avsep.faces.config import FacesConfig
from avsep.faces.timing import StepTimer
from avsep.faces.track import FinishedTrack, TrackChunk
from avsep.faces.tracking import Tracker, Tracks
from avsep.progress import StepProgress
from avsep.schema import LIPS_SIZE, NUM_LANDMARKS
from avsep.separation.config import SeparateConfig
from avsep.separation.disk_array import DiskArray
from avsep.separation.left_out import LeftOut, Why
from avsep.separation.recording import Recording

MIN_TRACKLET_FRAMES = 10  # a shorter track does not become part of a speaker


@dataclass(frozen=True, eq=False)
class FaceArrays:
    """The arrays of a face, T frames, on disk.

    Attributes:
        lips: (T, 96, 96) uint8, crops of the mouth.
        points: (T, 68, 3) float16, landmarks in the analysis square.
        squares: (T, 3) float32, left, top and side of the analysis squares, in source pixels.
    """

    lips: DiskArray
    points: DiskArray
    squares: DiskArray

    @classmethod
    def of(cls, folder: Path, track_id: int) -> FaceArrays:
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
class FaceSpan:
    """Where a face was while it was tracked without a break, and how it appeared.

    Attributes:
        start: first frame on the time line.
        stop: frame after the last.
        first_box: (3,) centre x, centre y and side of the face in its first frame, in source
            pixels.
        last_box: (3,) the same for the frame in which the face was last visible.
        appearance: (2, 432) appearance of the face at first and at last, see
            `avsep.faces.appearance`.
    """

    start: int
    stop: int
    first_box: np.ndarray
    last_box: np.ndarray
    appearance: np.ndarray


@dataclass(frozen=True, eq=False)
class Tracklet(FaceSpan):
    """A face that was tracked without a break, T frames.

    Attributes:
        valid: (T,) uint8, see `avsep.schema.Landmarks`.
        score: (T,) float16, confidence of the landmarks.
        arrays: mouths and landmarks.
    """

    valid: np.ndarray
    score: np.ndarray
    arrays: FaceArrays


def faces_config(config: SeparateConfig) -> FacesConfig:
    """The settings of the tracker."""
    return FacesConfig(
        detect_every=config.detect_every_n,
        min_face_px=config.min_face_px,
        max_faces=config.max_faces,
        min_track_frames=MIN_TRACKLET_FRAMES,
    )


def track_faces(
    recording: Recording,
    config: SeparateConfig,
    backend: FaceBackend,
    folder: Path,
    progress: StepProgress,
) -> tuple[list[Tracklet], list[LeftOut]]:
    """Track every face of a recording; sorted by first frame, then from left to right."""
    arrays: dict[int, FaceArrays] = {}

    def keep(chunk: TrackChunk) -> None:
        if chunk.track_id not in arrays:
            arrays[chunk.track_id] = FaceArrays.of(folder, chunk.track_id)
        arrays[chunk.track_id].append(chunk)

    timeline = recording.timeline
    tracker = Tracker(faces_config(config), backend, StepTimer(), keep)
    frames = recording.pictures(timeline.first_picture, timeline.stop_picture)
    with progress("track faces", timeline.stop_picture - timeline.first_picture) as advance:
        for _ in tracker.steps(frames):
            advance(1)
    tracks = tracker.finish()
    kept = tracks.kept
    for track_id in arrays.keys() - {track.track_id for track in kept}:
        arrays[track_id].remove()
    tracklets = [_tracklet(track, timeline.first_picture, arrays[track.track_id]) for track in kept]
    return tracklets, untracked(tracks)


def untracked(tracks: Tracks) -> list[LeftOut]:
    """The faces that the tracker has seen and not followed."""
    over = [LeftOut(why=Why.OVER_LIMIT)] * tracks.over_limit
    return over + [LeftOut(why=Why.TOO_SMALL, face_px=side) for side in tracks.too_small]


def _tracklet(track: FinishedTrack, offset: int, arrays: FaceArrays) -> Tracklet:
    return Tracklet(
        start=track.start + offset,
        stop=track.start + offset + len(track.valid),
        first_box=track.first_box,
        last_box=track.last_box,
        appearance=track.appearance,
        valid=track.valid,
        score=track.score,
        arrays=arrays,
    )
