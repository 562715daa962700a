"""Settings of the check of a raw clip."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from avsep.validation import check_positive, check_range, check_share


@dataclass(frozen=True, kw_only=True)
class Thresholds:
    """What a clip must meet to be kept. Everything else that is measured is only a score.

    Attributes:
        min_duration_s: shortest span that sound and video share, in seconds.
        max_duration_s: longest such span, in seconds; it bounds the memory per clip.
        max_apart_s: longest time at the start or end with only sound or only video, in seconds.
            What both share is used in any case; lower it to drop clips whose streams differ.
        silence_dbfs: RMS level in dBFS below which a clip is silent.
        min_fps: frames per second below which lips cannot be tracked.
        num_pictures: number of frames, spread over the clip, that are sampled for the next two.
        max_black_share: largest share of sampled frames without any bright part, 0..1.
        max_frozen_share: largest share of successive sampled frames without any change, 0..1.
        speech: how the score `speech_share` is measured: `energy` (level above a gate) or `silero`
            (silero-vad, which tells speech from music; needs the extra `vad`).
    """

    min_duration_s: float = 1.0
    max_duration_s: float = 300.0
    max_apart_s: float = 300.0
    silence_dbfs: float = -60.0
    min_fps: float = 10.0
    num_pictures: int = 8
    max_black_share: float = 0.5
    max_frozen_share: float = 0.5
    speech: Literal["energy", "silero"] = "energy"

    def __post_init__(self) -> None:
        check_positive(self, "min_duration_s", "max_duration_s", "max_apart_s")
        if not self.max_duration_s > self.min_duration_s:
            raise ValueError(
                f"max_duration_s is {self.max_duration_s}; it must be above min_duration_s,"
                f" {self.min_duration_s}."
            )
        check_range(self, -100, 0, "silence_dbfs")
        check_range(self, 0, 25, "min_fps")
        check_range(self, 2, 1000, "num_pictures")
        check_share(self, "max_black_share", "max_frozen_share")
