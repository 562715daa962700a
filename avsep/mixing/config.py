"""Settings of mixing: which samples are mixed, and the noise in lists."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from avsep.expression import Expression
from avsep.validation import check_share

MAX_SNR_DB = 60.0
LISTED = ("val", "test")  # splits with fixed lists; training draws without end


@dataclass(frozen=True, kw_only=True)
class SelectionConfig:
    """What a sample must be like to be mixed.

    Attributes:
        min_activity: least share of a window's frames with speech, 0..1.
        allow_multi_voice: take samples whose sound may hold more than one voice.
        max_quality: highest value by score name; a score that is unknown passes.
        min_quality: lowest value by score name; a score that is unknown passes.
        select: an expression over the scores of a sample, see `avsep.expression`; empty takes
            all. A sample about which the answer is unknown is not taken.
    """

    min_activity: float = 0.5
    allow_multi_voice: bool = False
    max_quality: dict[str, float] = field(default_factory=lambda: {"missing_share": 0.2})
    min_quality: dict[str, float] = field(default_factory=dict)
    select: str = ""

    def __post_init__(self) -> None:
        check_share(self, "min_activity")
        for name in ("max_quality", "min_quality"):
            for score, limit in getattr(self, name).items():
                if not math.isfinite(limit):
                    raise ValueError(f"{name} of {score} is {limit}; it must be a finite number.")
        Expression(self.select)  # raises a ValueError that says what is wrong with it


@dataclass(frozen=True, kw_only=True)
class NoiseConfig:
    """Noise under the mixtures of lists.

    Attributes:
        folder: folder of sound files, relative to the project folder; empty for no noise.
        licence: licence of the folder; recorded in every recipe.
        min_snr_db: lowest level of the voices over the noise, in dB; the level of the voices is
            the mean of their levels.
        max_snr_db: highest level of the voices over the noise, in dB.
    """

    folder: str = ""
    licence: str = ""
    min_snr_db: float = -3.0
    max_snr_db: float = 6.0

    def __post_init__(self) -> None:
        if self.folder and not self.licence:
            raise ValueError("noise.licence is empty; say what the noise may be used for.")
        if not -MAX_SNR_DB <= self.min_snr_db <= self.max_snr_db <= MAX_SNR_DB:
            raise ValueError(
                f"the noise's SNR is {self.min_snr_db} to {self.max_snr_db} dB; it must rise, and"
                f" lie between {-MAX_SNR_DB:g} and {MAX_SNR_DB:g} dB."
            )
