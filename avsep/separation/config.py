"""Settings of `avsep separate`. Light to import: the command line reads them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from avsep.validation import check_at_least, check_positive, check_range

PrecisionName = Literal["fp32", "bf16", "fp16"]
VideoMode = Literal["draw", "copy"]


@dataclass(frozen=True, kw_only=True)
class SeparateConfig:
    """How a video is separated. Frames are at 25 per second.

    Attributes:
        speakers: number of voices; 0 for one per face.
        detect_every_n: frames between two runs of the face detector over the whole picture.
        face_scale: side of the square that is drawn and listed for a face, in sides of the face
            box. (The crop of the mouth does not depend on it.)
        min_face_px: side of the smallest face to detect, in pixels.
        max_faces: largest number of faces tracked at the same time, the largest first; 0 for all.
        keep_still: whether a face that never moves, as in a photograph, is a speaker.
        min_seen_s: a face that is visible for less is not a speaker, in seconds.
        window_s: length of the windows that the model sees, in seconds.
        overlap_s: how much neighbouring windows share, in seconds.
        fade_s: length of the cross-fade in the middle of the overlap, in seconds.
        hold_s: how long a voice stays unchanged while its face is away, in seconds.
        away_fade_s: how long it then takes to fade out, in seconds.
        only: numbers of the speakers to write; all of them if empty.
        audio_only: write no video files.
        video: `draw` encodes the pictures anew, with a frame about each face; `copy` keeps the
            coded pictures as they are, which takes next to no time, and writes no overview.
        residual: also write the mixture minus the voices.
        precision: number format of the model.
    """

    speakers: int = 0
    detect_every_n: int = 8
    face_scale: float = 1.5
    min_face_px: int = 32
    max_faces: int = 0
    keep_still: bool = False
    min_seen_s: float = 1.0
    window_s: float = 4.0
    overlap_s: float = 0.48
    fade_s: float = 0.2
    hold_s: float = 0.5
    away_fade_s: float = 0.25
    only: tuple[int, ...] = ()
    audio_only: bool = False
    video: VideoMode = "draw"
    residual: bool = False
    precision: PrecisionName = "fp32"

    def __post_init__(self) -> None:
        check_at_least(self, 0, "speakers", "max_faces", "min_seen_s", "hold_s")
        check_at_least(self, 1, "detect_every_n")
        check_at_least(self, 16, "min_face_px")
        check_range(self, 0.5, 10, "face_scale")
        check_positive(self, "away_fade_s", "fade_s")
        if not 0 < self.overlap_s < self.window_s <= 60:
            raise ValueError(
                f"window_s is {self.window_s} and overlap_s {self.overlap_s}; the overlap must be"
                " above 0 and shorter than the window, and the window at most 60 s."
            )
        if any(number < 1 for number in self.only):
            raise ValueError(f"only is {self.only}; speakers are numbered from 1.")
