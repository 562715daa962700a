"""What samples must be like to be mixed. Light: the command line reads it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from avsep.expression import Expression


@dataclass(frozen=True, kw_only=True)
class Wishes:
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
        if not 0 <= self.min_activity <= 1:
            raise ValueError(f"min_activity is {self.min_activity}; it must be in 0..1.")
        for name in ("max_quality", "min_quality"):
            if odd := sorted(k for k, v in getattr(self, name).items() if not math.isfinite(v)):
                raise ValueError(f"{name} of {', '.join(odd)} is no finite number.")
        Expression(self.select)  # raises a ValueError that says what is wrong with it
