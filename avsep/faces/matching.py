"""Whether two boxes, or a box and a track, show one and the same face."""

from __future__ import annotations

import numpy as np

from avsep.faces.geometry import box_iou
from avsep.faces.track import FaceTrack, Sighting

SAME_PLACE_IOU = 0.3  # two boxes that overlap more show one face
SAME_PLACE_SHARE = 0.35  # so do two whose centres are nearer, over the side of the smaller
SIZE_RATIO = 1.6  # by which a face may grow or shrink from one sighting to the next


def is_near(track: FaceTrack, box: np.ndarray, share: float) -> bool:
    """Whether a box has about the place and size that a track had last."""
    ratio = float(box[2] / track.box[2])
    distance = float(np.hypot(*(box[:2] - track.box[:2])))
    return 1 / SIZE_RATIO <= ratio <= SIZE_RATIO and distance <= share * float(track.box[2])


def one_place(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether two boxes show one face: a detector's box and a landmark box differ a little."""
    distance = float(np.hypot(*(a[:2] - b[:2])))
    return box_iou(a, b) > SAME_PLACE_IOU or distance < SAME_PLACE_SHARE * float(min(a[2], b[2]))


def doubles(seen: dict[FaceTrack, Sighting]) -> set[FaceTrack]:
    """Tracks that have slid onto the face of another one, which looks more like itself there."""
    wrong: set[FaceTrack] = set()
    tracks = list(seen)
    for i, a in enumerate(tracks):
        for b in tracks[i + 1 :]:
            if wrong.isdisjoint((a, b)) and one_place(seen[a].box, seen[b].box):
                likely = a.likeness_to_memory(seen[a]) >= b.likeness_to_memory(seen[b])
                wrong.add(b if likely else a)
    return wrong
