"""From the frames of a clip to its face tracks: landmarks, mouth crops and scores."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

from avsep.faces.backends import FaceBackend
from avsep.faces.config import FacesConfig
from avsep.faces.pictures import Picture
from avsep.faces.quality import picture_scores
from avsep.faces.stillness import FaceSpan, never_moves
from avsep.faces.timing import StepTimer
from avsep.faces.track import FinishedTrack
from avsep.faces.tracking import Tracker, Tracks
from avsep.schema import Landmarks


@dataclass(frozen=True, kw_only=True, eq=False)
class FaceTrackSample:
    """One face track of a clip, T frames.

    Attributes:
        start_frame: number of the first frame in the clip.
        landmarks: landmarks of the track.
        lips: (T, 96, 96) uint8, grey mouth crops.
        scores: scores of the video, see `quality.picture_scores`, and `other_face_share`: the
            share of frames that also show another face.
    """

    start_frame: int
    landmarks: Landmarks
    lips: np.ndarray
    scores: dict[str, float]

    @property
    def num_frames(self) -> int:
        """Number of frames, T."""
        return len(self.lips)

    @property
    def span(self) -> tuple[int, int]:
        """Number of the first frame, and of the frame after the last, in the clip."""
        return self.start_frame, self.start_frame + self.num_frames


def extract_faces(
    frames: Iterable[np.ndarray | Picture],
    config: FacesConfig,
    backend: FaceBackend,
    timer: StepTimer | None = None,
) -> list[FaceTrackSample]:
    """Track every face of a clip and crop its mouth, in one pass over the frames.

    No more frames than the backend's window are kept in memory.

    Args:
        frames: pictures of one size, or arrays (H, W, 3) uint8 RGB, 25 per second.
        config: settings of the tracking.
        backend: from `avsep.faces.backends.create`.
        timer: adds up the time per step over clips.

    Returns:
        One sample per track, by first frame, then from left to right; empty where no face was
        tracked for `config.min_track_frames` frames.

    Raises:
        ValueError: a frame is not an RGB picture, or its size differs from that of the first.
    """
    return track_samples(track_faces(frames, config, backend, timer))


def track_faces(
    frames: Iterable[np.ndarray | Picture],
    config: FacesConfig,
    backend: FaceBackend,
    timer: StepTimer | None = None,
) -> Tracks:
    """The first half of `extract_faces`: track every face, including short tracks."""
    return Tracker(config, backend, timer if timer is not None else StepTimer()).run(frames)


def without_still(tracks: Tracks) -> Tracks:
    """The tracks without faces that never move, as in photographs, where a clip has several faces.

    A face that is alone stays: the scores of its sample say how little it moves.
    """
    if len(tracks.kept) < 2:
        return tracks
    moving = [track for track in tracks.kept if not _is_still(track, tracks)]
    spans = list(tracks.spans)
    for track in tracks.kept:
        if track not in moving:
            spans.remove((track.start, track.stop))
    return replace(tracks, kept=moving, spans=spans)


def track_samples(tracks: Tracks) -> list[FaceTrackSample]:
    """The second half of `extract_faces`: one sample per track that is long enough."""
    return [_sample(track, tracks) for track in tracks.kept]


def _is_still(track: FinishedTrack, tracks: Tracks) -> bool:
    block = track.block
    assert block is not None  # the tracker has no `on_chunk`
    span = FaceSpan(
        points=block.points,
        squares=block.squares,
        valid=track.valid,
        face_px=float(track.first_box[2]),
    )
    return never_moves([span], tracks.width, tracks.height)


def _sample(track: FinishedTrack, tracks: Tracks) -> FaceTrackSample:
    block = track.block
    assert block is not None  # the tracker has no `on_chunk`
    size = np.array([tracks.width, tracks.height, tracks.width, tracks.height], np.float32)
    landmarks = Landmarks(
        points=block.points,
        valid=track.valid,
        score=track.score,
        box=block.squares[:, [0, 1, 2, 2]] / size,
        to_mean_face=block.to_mean_face,
        crop_xy=block.crop_xy,
    )
    scores = picture_scores(landmarks, track.face_px)
    scores["other_face_share"] = _other_face_share(track, tracks)
    return FaceTrackSample(
        start_frame=track.start, landmarks=landmarks, lips=block.lips, scores=scores
    )


def _other_face_share(track: FinishedTrack, tracks: Tracks) -> float:
    faces = np.zeros(tracks.num_frames, np.int64)
    for first, stop in tracks.spans:
        faces[first:stop] += 1
    return round(float((faces[track.start : track.stop] > 1).mean()), 6)
