"""Whether the sound of a clip may hold more than one voice, or another voice than the face's."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from avsep.media.level import active_frames, active_level_dbfs
from avsep.schema import FPS, RATE_HZ

if TYPE_CHECKING:
    from numpy.typing import NDArray

AT_ONCE = "faces_at_once"
IN_TURN = "faces_in_turn"
WITHOUT_FACE = "voice_without_face"

SHARED_LIMIT_S = 0.5  # a second face for a shorter time is likely the detector's error
UNSEEN_LIMIT_S = 0.75  # shorter: a breath, the tracker's late start, and 0.2 s of hangover


def voice_doubts(
    spans: Sequence[tuple[int, int]], shared_frames: float, audio: NDArray[np.int16]
) -> list[str]:
    """Why a clip may carry more than one voice; empty when nothing speaks for it.

    It errs on the safe side: a face that was lost for long and found again is taken for another.

    Args:
        spans: first frame and frame after the last of each face track.
        shared_frames: most frames that one of them shares with other faces, those included that
            were too short for a track of their own.
        audio: (samples,) int16 at 16 kHz of the whole clip.
    """
    doubts = []
    ordered = sorted(spans)
    overlapping = any(a[1] > b[0] for a, b in pairwise(ordered))
    if overlapping or shared_frames >= SHARED_LIMIT_S * FPS:
        doubts.append(AT_ONCE)
    elif len(ordered) > 1:
        doubts.append(IN_TURN)  # after a cut, or in place of the one before
    level = active_level_dbfs(audio, RATE_HZ)
    unseen = active_frames(audio, level)
    for start, stop in spans:
        unseen[start:stop] = False
    if unseen.sum() >= UNSEEN_LIMIT_S * FPS:
        doubts.append(WITHOUT_FACE)
    return doubts


def active_level(audio: NDArray[np.int16]) -> float | None:
    """The active level (ITU-T P.56) in dBFS, rounded to a thousandth; None for silence."""
    level = active_level_dbfs(audio, RATE_HZ)
    return round(float(level), 3) if np.isfinite(level) else None
