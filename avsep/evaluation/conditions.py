"""What the model is shown: the wanted speaker's video, the other speaker's, or a frozen frame.

A separator that ignores its video scores the same in all three; one that looks falls far below
its own-video score with the other speaker's, since it then extracts the wrong voice.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

import numpy as np

from avsep.schema import MISSING, Cues


class Condition(StrEnum):
    """Whose video the model sees."""

    OWN = "own"
    OTHER = "other"
    NONE = "none"

    @property
    def label(self) -> str:
        """For tables."""
        return {
            Condition.OWN: "own video",
            Condition.OTHER: "other speaker's video",
            Condition.NONE: "no video (frozen frame)",
        }[self]


def frozen(cues: Cues) -> Cues:
    """The same cues with one frame repeated: a face is there, but it does not move.

    The first frame is taken, or the first with landmarks where the face is not there from the
    start: a frame without landmarks would be told from a still face by its zeros.

    Args:
        cues: of one item, no batch axis.
    """
    valid = np.asarray(cues.valid)
    seen = np.flatnonzero(valid != MISSING)
    first = int(seen[0]) if len(seen) else 0
    index = np.full(len(valid), first)
    return Cues(
        lips=np.asarray(cues.lips)[index],
        landmarks=np.asarray(cues.landmarks)[index],
        valid=valid[index],
    )


def condition_cues(cues: Sequence[Cues], target: int, condition: Condition) -> Cues:
    """The cues to show when voice `target` is wanted.

    Args:
        cues: of each voice of the mixture, no batch axis.
        target: index of the wanted voice.
        condition: whose video to show; with more than two voices `other` is the next one.

    Raises:
        ValueError: `other` with a single voice.
    """
    if condition is Condition.OWN:
        return cues[target]
    if condition is Condition.NONE:
        return frozen(cues[target])
    if len(cues) < 2:
        raise ValueError("the other speaker's video needs a mixture of at least two voices.")
    return cues[(target + 1) % len(cues)]
