"""Settings of face detection, tracking, landmarks and the mouth crop."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from avsep.validation import check_at_least, check_range

FULL_LIMIT_SIDE = 640  # shorter side of the pictures to which `min_face_px` applies as it is
SMALLEST_DETECTED = 16  # pixels; the models find no smaller face
SMALLEST_FACE = 32  # pixels; smaller faces are only searched for when `min_face_px` says so


@dataclass(frozen=True, kw_only=True)
class FacesConfig:
    """How faces are found and tracked. Videos have 25 frames per second here.

    Attributes:
        detect_every: number of frames between two runs of the detector over the whole picture. A
            lost face is searched near its last place in every frame, so this only delays new faces.
        min_face_px: side of the smallest face to detect, in pixels of a picture whose shorter side
            has 640 pixels or more. In smaller pictures it is smaller in proportion, down to 32.
        max_faces: largest number of faces tracked at the same time, the largest faces first; 0 for
            all of them.
        max_gap: longest loss of a face that is bridged by interpolation, in frames.
        long_gaps: `end`: a longer loss ends the track, and the face starts a new one when it
            comes back. `hold`: the track continues with the last landmarks, marked as missing.
        keep_still: whether a face that never moves, as in a photograph, gives a sample even in a
            clip with several faces.
        min_track_frames: shorter tracks are dropped.
        cut_distance: least difference of two successive pictures, or of the surroundings of a face
            in them, that counts as a cut, 0..1.
        same_face: least similarity (correlation of small colour patches, -1..1) of one face in two
            successive frames; below it the track is split, since another person took the place.
        resume_face: least similarity at which a face that comes back continues its old track.
        max_yaw_deg: where the head is turned further to the side, frames are marked as turned, and
            their landmarks do not count as detected; 90 for no limit.
        box_window: number of frames on each side over which the analysis square is smoothed.
        mouth_window: number of frames on each side over which the landmarks that place the mouth
            crop are averaged.
        roi_side_px: larger faces are shrunk (by area) to this side, in pixels, before the mouth is
            warped.
    """

    detect_every: int = 8
    min_face_px: int = 60
    max_faces: int = 0
    max_gap: int = 25
    long_gaps: Literal["end", "hold"] = "end"
    keep_still: bool = False
    min_track_frames: int = 25
    cut_distance: float = 0.4
    same_face: float = 0.5
    resume_face: float = 0.4
    max_yaw_deg: float = 35.0
    box_window: int = 12
    mouth_window: int = 6
    roi_side_px: int = 320

    def __post_init__(self) -> None:
        check_at_least(self, 1, "detect_every", "min_track_frames")
        check_at_least(self, 0, "max_faces", "max_gap", "box_window", "mouth_window")
        check_at_least(self, SMALLEST_DETECTED, "min_face_px")
        check_at_least(self, 192, "roi_side_px")  # below, the mouth crop would be blurred
        check_range(self, 0, 90, "max_yaw_deg")
        check_range(self, -1, 1, "cut_distance", "same_face", "resume_face")

    def smallest_face(self, width: int, height: int) -> int:
        """Side of the smallest face to detect in pictures of a size, in pixels."""
        share = min(width, height) / FULL_LIMIT_SIDE
        return min(self.min_face_px, max(SMALLEST_FACE, round(self.min_face_px * share)))
