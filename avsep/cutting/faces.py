"""The faces of a recording: tracked in one pass, of which only what cutting needs is kept."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

import numpy as np

from avsep.cutting.activity import Face
from avsep.faces.backends import FaceBackend
from avsep.faces.config import FacesConfig
from avsep.faces.pictures import Picture
from avsep.faces.pose import inter_ocular
from avsep.faces.quality import lip_gap
from avsep.faces.timing import StepTimer
from avsep.faces.track import TrackChunk
from avsep.faces.tracking import Tracker
from avsep.progress import Progress
from avsep.schema import DETECTED, INTERPOLATED


class _Parts:
    """What is kept of the chunks of one track."""

    def __init__(self) -> None:
        self.gaps: list[np.ndarray] = []
        self.eyes: list[np.ndarray] = []
        self.seen: list[np.ndarray] = []
        self.squares: list[np.ndarray] = []

    def add(self, chunk: TrackChunk) -> None:
        points = chunk.block.points.astype(np.float32)
        self.gaps.append(lip_gap(points))
        self.eyes.append(inter_ocular(points))
        self.seen.append(np.isin(chunk.valid, (DETECTED, INTERPOLATED)))
        self.squares.append(chunk.block.squares)

    def face(self, start: int) -> Face:
        eyes = max(float(np.median(np.concatenate(self.eyes))), 1e-6)
        return Face(
            start=start,
            opening=np.concatenate(self.gaps) / eyes,
            seen=np.concatenate(self.seen),
            squares=np.concatenate(self.squares),
        )


def find_faces(
    pictures: Iterable[Picture], config: FacesConfig, backend: FaceBackend, progress: Progress
) -> list[Face]:
    """Track every face of a recording, by first frame, then from left to right.

    Args:
        pictures: the recording at 25 pictures per second.
        config: settings of the tracking.
        backend: finds faces and landmarks.
        progress: called with the number of frames done.
    """
    parts: defaultdict[int, _Parts] = defaultdict(_Parts)
    tracker = Tracker(config, backend, StepTimer(), lambda chunk: parts[chunk.track_id].add(chunk))
    for _ in tracker.steps(pictures):
        progress(1)
    tracks = tracker.finish().kept
    return [parts[track.track_id].face(track.start) for track in tracks]
