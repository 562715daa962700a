"""Whether a clip may contain more than one voice, or a voice that is not the face's."""

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

SHARED_LIMIT_S = 0.5  # a second face for a shorter time is probably a false detection
UNSEEN_LIMIT_S = 0.75  # a shorter time is a breath, a late start of the tracker, and hangover


def voice_doubts(
    spans: Sequence[tuple[int, int]], shared_frames: float, audio: NDArray[np.int16]
) -> list[str]:
    """Why a clip may contain more than one voice; empty when there is no sign of that.

    It errs on the safe side: a face that comes back after a long loss counts as another face.

    Args:
        spans: first frame and frame after the last of each face track.
        shared_frames: largest number of frames that one track shares with other faces, including
            faces that were seen too briefly to be kept.
        audio: (samples,) int16 at 16 kHz, the whole clip.
    """
    doubts = []
    ordered = sorted(spans)
    overlapping = any(a[1] > b[0] for a, b in pairwise(ordered))
    if overlapping or shared_frames >= SHARED_LIMIT_S * FPS:
        doubts.append(AT_ONCE)
    elif len(ordered) > 1:
        doubts.append(IN_TURN)  # after a cut, or in the same place as the face before
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
