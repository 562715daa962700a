"""The damages that are drawn in training and are conditions of an evaluation.

Each has a severity from 0 (none) to 1. Those of the video are made by `avsep.visual_damage`, those
of the sound by `avsep.sound_damage`.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

VISUAL = ("covered", "low-resolution", "frozen", "dropped", "black", "late", "early")
SOUND = ("reverberant", "babble", "noise", "quiet", "weaker")
DAMAGES = VISUAL + SOUND
_NAME = re.compile(r"([a-z-]+?)(?:@(\d+(?:\.\d+)?))?")


def parse_damage(name: str) -> tuple[str, float]:
    """Kind and severity of a damage such as `covered@0.5`; without a number the severity is 1.

    Raises:
        ValueError: the damage is unknown, or its severity is not between 0 and 1.
    """
    match = _NAME.fullmatch(name)
    if match is None or match[1] not in DAMAGES:
        raise ValueError(f"{name!r} is not a damage; there are {', '.join(DAMAGES)}.")
    severity = float(match[2] or 1)
    if not 0 < severity <= 1:
        raise ValueError(f"the severity of {name!r} must be above 0 and at most 1.")
    return match[1], severity


def draw_damage(kinds: Sequence[str], rng: np.random.Generator) -> tuple[str, float]:
    """One of some kinds and a severity, both uniform."""
    return kinds[int(rng.integers(len(kinds)))], float(rng.uniform(0.05, 1.0))


def generator_of(*names: str) -> np.random.Generator:
    """The generator of one damage, the same for the same names."""
    import numpy as np

    return np.random.default_rng([zlib.crc32(name.encode()) for name in names])
