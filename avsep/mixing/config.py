"""Settings of noise in lists. Light: the command line reads it."""

from __future__ import annotations

from dataclasses import dataclass

MAX_SNR_DB = 60.0


@dataclass(frozen=True, kw_only=True)
class NoiseConfig:
    """Noise for lists.

    Attributes:
        folder: of sound files, relative to the project folder; without one there is no noise.
        licence: of the folder; goes into every recipe.
        min_snr_db: least level of the voices (the mean of theirs) over the noise.
        max_snr_db: greatest.
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
                f"the noise's SNR of {self.min_snr_db} to {self.max_snr_db} dB makes no sense."
            )
