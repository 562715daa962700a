"""Settings of `avsep separate`. Light: the command line reads them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

PrecisionName = Literal["fp32", "bf16", "fp16"]


@dataclass(frozen=True, kw_only=True)
class SeparateConfig:
    """How a video is separated. Frames are at 25 a second.

    Attributes:
        speakers: how many voices; 0 for one a face.
        detect_every_n: frames between two runs of the face detector over the whole picture.
        face_scale: side of the square that is drawn and listed for a face, over the side of the
            face box. (The mouth itself is cut out by landmarks.)
        min_face_px: side of the smallest face to look for, in pixels.
        min_seen_s: a face that is seen for less is no speaker, in seconds.
        window_s: length of the stretches that the model sees, in seconds.
        overlap_s: how long neighbouring stretches share, in seconds.
        fade_s: length of the cross-fade in the middle of what they share, in seconds.
        hold_s: how long a voice stays as it is while its face is not seen, in seconds.
        away_fade_s: how long it then takes to fade out, in seconds.
        only: the speakers to write, by number; all when empty.
        audio_only: no video files.
        residual: write what is left of the mixture as well.
        precision: number format of the model.
    """

    speakers: int = 0
    detect_every_n: int = 8
    face_scale: float = 1.5
    min_face_px: int = 48
    min_seen_s: float = 1.0
    window_s: float = 4.0
    overlap_s: float = 0.48
    fade_s: float = 0.2
    hold_s: float = 0.5
    away_fade_s: float = 0.25
    only: tuple[int, ...] = ()
    audio_only: bool = False
    residual: bool = False
    precision: PrecisionName = "fp32"

    def __post_init__(self) -> None:
        if self.speakers < 0:
            raise ValueError(f"speakers is {self.speakers}; it must not be negative.")
        if self.detect_every_n < 1:
            raise ValueError(f"detect_every_n is {self.detect_every_n}; it must be at least 1.")
        if not 0.5 <= self.face_scale <= 10:
            raise ValueError(f"face_scale is {self.face_scale}; it must be within 0.5..10.")
        if self.min_face_px < 16:
            raise ValueError(f"min_face_px is {self.min_face_px}; it must be at least 16.")
        for name in ("min_seen_s", "hold_s"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is {getattr(self, name)}; it must not be negative.")
        if self.away_fade_s <= 0:
            raise ValueError(f"away_fade_s is {self.away_fade_s}; it must be above 0.")
        if not 0 < self.overlap_s < self.window_s <= 60:
            raise ValueError(
                f"window {self.window_s} s and overlap {self.overlap_s} s: the overlap must be"
                " above 0 and shorter than the window, and the window at most 60 s."
            )
        if self.fade_s <= 0:
            raise ValueError(f"fade_s is {self.fade_s}; it must be above 0.")
        if any(number < 1 for number in self.only):
            raise ValueError("speakers are numbered from 1 on.")
