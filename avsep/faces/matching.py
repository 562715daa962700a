"""Whether two boxes, or a box and a track, show the same face."""

from __future__ import annotations

import numpy as np

from avsep.faces.geometry import box_iou
from avsep.faces.track import FaceTrack, Sighting

SAME_PLACE_IOU = 0.3  # two boxes that overlap more show the same face
SAME_PLACE_SHARE = 0.35  # so do two with closer centres, relative to the smaller side
SIZE_RATIO = 1.6  # most that a face may grow or shrink from one sighting to the next


def is_near(track: FaceTrack, box: np.ndarray, share: float) -> bool:
    """Whether a box has about the last place and size of a track.

    Args:
        track: the track.
        box: (3,) centre x, centre y and side.
        share: largest distance of the centres relative to the side of the track's last box.
    """
    ratio = float(box[2] / track.box[2])
    distance = float(np.hypot(*(box[:2] - track.box[:2])))
    return 1 / SIZE_RATIO <= ratio <= SIZE_RATIO and distance <= share * float(track.box[2])


def same_face(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether two boxes show the same face; a detector's box and a landmark box differ a little."""
    distance = float(np.hypot(*(a[:2] - b[:2])))
    return box_iou(a, b) > SAME_PLACE_IOU or distance < SAME_PLACE_SHARE * float(min(a[2], b[2]))


def duplicate_tracks(seen: dict[FaceTrack, Sighting]) -> set[FaceTrack]:
    """Tracks that have moved onto the face of another track, which fits that face better."""
    wrong: set[FaceTrack] = set()
    tracks = list(seen)
    for i, a in enumerate(tracks):
        for b in tracks[i + 1 :]:
            if wrong.isdisjoint((a, b)) and same_face(seen[a].box, seen[b].box):
                likely = a.similarity_to_memory(seen[a]) >= b.similarity_to_memory(seen[b])
                wrong.add(b if likely else a)
    return wrong
