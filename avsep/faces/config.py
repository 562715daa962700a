"""Settings of face detection, tracking, landmarks and the mouth crop."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class FacesConfig:
    """How faces are found and followed. Frames are at 25 a second.

    Attributes:
        detect_every: frames between two runs of the detector over the whole picture. A lost face
            is looked for around its last place in each frame, so this only delays newcomers.
        min_face_px: side of the smallest face to look for, in pixels of the source.
        max_faces: most faces followed at the same time; the largest are taken first.
        max_gap: longest loss of a face, in frames, that is bridged by interpolation.
        long_gaps: `end`: a longer loss ends the track, and the face starts a new one when it
            comes back. `hold`: the track goes on with the last landmarks, marked as missing.
        min_track_frames: shorter tracks are dropped.
        cut_distance: how unlike two successive pictures, or the surroundings of a face in them,
            must be to count as a cut, 0..1.
        same_face: least likeness (correlation of small colour patches, -1..1) of one face in two
            successive frames; below it the track is split, since another person took the place.
        resume_face: least likeness for a face that comes back to go on with its old track.
        box_window: frames on each side over which the analysis square is smoothed.
        mouth_window: frames on each side over which the landmarks that place the mouth crop are
            averaged.
        roi_side_px: larger faces are shrunk (by area) to this side before the mouth is warped.
    """

    detect_every: int = 8
    min_face_px: int = 60
    max_faces: int = 6
    max_gap: int = 25
    long_gaps: Literal["end", "hold"] = "end"
    min_track_frames: int = 25
    cut_distance: float = 0.4
    same_face: float = 0.5
    resume_face: float = 0.4
    box_window: int = 12
    mouth_window: int = 6
    roi_side_px: int = 320

    def __post_init__(self) -> None:
        for name in ("detect_every", "max_faces", "min_track_frames"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be at least 1.")
        for name in ("max_gap", "box_window", "mouth_window"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is {getattr(self, name)}; it must not be negative.")
        if self.min_face_px < 16:
            raise ValueError(
                f"min_face_px is {self.min_face_px}; no face is found below 16 pixels."
            )
        if self.roi_side_px < 192:
            raise ValueError(
                f"roi_side_px is {self.roi_side_px}; below 192 the mouth crop would be blurred."
            )
        for name in ("cut_distance", "same_face", "resume_face"):
            if not -1 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be within -1..1.")
