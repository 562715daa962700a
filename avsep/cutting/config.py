"""Settings of the cutting of long recordings."""

from __future__ import annotations

from dataclasses import dataclass

from avsep.validation import check_at_least, check_positive, check_range


@dataclass(frozen=True, kw_only=True)
class CuttingConfig:
    """What makes a clip.

    Attributes:
        min_s: shortest clip, in seconds.
        max_s: longest clip; longer speech is divided at a pause.
        max_pause_s: longest pause within a clip.
        min_movement: least standard deviation of the opening of the lips over half a second, over
            the distance between the eyes, of a mouth that may be speaking.
        movement_share: least movement relative to that of the mouth that moves most.
        min_score: least correlation of the opening of the lips with the loudness over a clip.
        margin: side of the picture of a clip, relative to the square around the face.
        crf: quality of the video of a clip, 1 (best) to 51.
    """

    min_s: float = 2.0
    max_s: float = 20.0
    max_pause_s: float = 1.0
    min_movement: float = 0.012
    movement_share: float = 0.3
    min_score: float = 0.15
    margin: float = 1.2
    crf: int = 18

    def __post_init__(self) -> None:
        check_positive(self, "min_s", "max_pause_s", "min_movement")
        check_at_least(self, self.min_s, "max_s")
        check_at_least(self, 1, "margin")
        check_range(self, 0, 1, "movement_share")
        check_range(self, -1, 1, "min_score")
        check_range(self, 1, 51, "crf")
