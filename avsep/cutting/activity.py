"""Who speaks in each frame: the movement of every mouth against the sound.

Where there is speech and one mouth moves, that face speaks; where several move, voices may overlap;
where none does, the voice comes from outside the picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from avsep.cutting.config import CuttingConfig
from avsep.schema import SAMPLES_PER_FRAME

SILENT, OFF_SCREEN, OVERLAP = -1, -2, -3  # other labels of a frame are numbers of faces
WINDOW = 13  # frames, half a second: over which the movement of a mouth is measured
HANGOVER = 4  # frames that count as speech after a loud one
LOUDEST_RANGE_DB = 30.0  # speech lies within this range below the loudest twentieth
ABOVE_NOISE_DB = 9.0  # and above the quietest tenth by this
LEAST_RANGE_DB = 12.0  # of which the noise floor leaves at least this, where nobody pauses
# Shorter runs say nothing: closed lips within a word, or a twitch of a listener.
SHORT_OFF_SCREEN, SHORT_OVERLAP, SHORT_SINGLE = 10, 6, 4


@dataclass(frozen=True, eq=False)
class Face:
    """One tracked face, T frames.

    Attributes:
        start: number of its first frame in the recording.
        opening: (T,) distance of the lips over the distance between the eyes.
        seen: (T,) bool, whether the face is seen well enough to tell.
        squares: (T, 3) left, top and side of the square around the face, in pixels.
    """

    start: int
    opening: np.ndarray
    seen: np.ndarray
    squares: np.ndarray

    @property
    def stop(self) -> int:
        """Number of the frame after its last."""
        return self.start + len(self.opening)


def speech_frames(audio: np.ndarray) -> np.ndarray:
    """Which frames contain speech, or other sound as loud, (T,) bool.

    Faint voices count too: somebody who speaks away from the microphone still disturbs.

    Args:
        audio: (640 T,) int16 at 16 kHz.
    """
    level_db = frame_levels(audio)
    if not len(level_db):
        return np.zeros(0, np.bool_)
    loud, quiet = np.percentile(level_db, 95), np.percentile(level_db, 10)
    floor = min(quiet + ABOVE_NOISE_DB, loud - LEAST_RANGE_DB)
    above = level_db > max(floor, loud - LOUDEST_RANGE_DB)
    last = np.maximum.accumulate(np.where(above, np.arange(len(above)), -HANGOVER - 1))
    return np.arange(len(above)) - last <= HANGOVER


def frame_levels(audio: np.ndarray) -> np.ndarray:
    """Level of each frame in dB, (T,), smoothed over three frames."""
    count = len(audio) // SAMPLES_PER_FRAME
    frames = audio[: count * SAMPLES_PER_FRAME].reshape(count, SAMPLES_PER_FRAME)
    power = np.array([np.square(frame.astype(np.float64)).mean() for frame in frames])
    padded = np.pad(power, 1, mode="edge")
    return 10 * np.log10((padded[:-2] + padded[1:-1] + padded[2:]) / 3 + 1e-3)


def movement(face: Face) -> np.ndarray:
    """How much the mouth moves around each frame, (T,); 0 where the face is not seen."""
    half = WINDOW // 2
    known = np.where(face.seen, face.opening, np.nan)
    padded = np.pad(known.astype(np.float64), half, constant_values=np.nan)
    windows = np.lib.stride_tricks.sliding_window_view(padded, WINDOW)
    seen = np.isfinite(windows)
    count = np.maximum(seen.sum(axis=1), 1)
    values = np.where(seen, windows, 0.0)
    mean = values.sum(axis=1) / count
    spread = np.sqrt((np.where(seen, windows - mean[:, None], 0.0) ** 2).sum(axis=1) / count)
    return np.where(face.seen & (seen.sum(axis=1) > half), spread, 0.0)


def who_speaks(faces: Sequence[Face], speech: np.ndarray, config: CuttingConfig) -> np.ndarray:
    """The label of each frame, (T,): the number of the only face that speaks, or why there is none.

    Args:
        faces: the tracked faces.
        speech: (T,) from `speech_frames`.
        config: how much a mouth that speaks moves.
    """
    total = len(speech)
    moves = [movement(face) for face in faces]
    most = np.zeros(total)
    for face, moved in zip(faces, moves, strict=True):
        span = slice(face.start, face.stop)
        most[span] = np.maximum(most[span], moved[: total - face.start])
    count = np.zeros(total, np.int64)
    labels = np.full(total, OFF_SCREEN)
    limit = np.maximum(config.min_movement, config.movement_share * most)
    for number, (face, moved) in enumerate(zip(faces, moves, strict=True)):
        span = slice(face.start, min(face.stop, total))
        speaking = moved[: span.stop - span.start] >= limit[span]
        count[span] += speaking
        labels[span][speaking] = number
    labels[count > 1] = OVERLAP
    labels[~speech] = SILENT
    for kind, short in ((OVERLAP, SHORT_OVERLAP), (OFF_SCREEN, SHORT_OFF_SCREEN)):
        _absorb(labels, kind, short)
    for number in range(len(faces)):
        _absorb(labels, number, SHORT_SINGLE)
    return labels


def runs(flags: np.ndarray) -> list[tuple[int, int]]:
    """First index, and index after the last, of each run of true values."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], flags.astype(np.int8), [0]])))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))


def _absorb(labels: np.ndarray, kind: int, short: int) -> None:
    """Give short runs the label of their neighbours, where both sides are of one face."""
    for first, stop in runs(labels == kind):
        if stop - first >= short:
            continue
        before = labels[first - 1] if first else SILENT
        after = labels[stop] if stop < len(labels) else SILENT
        around = {int(before), int(after)} - {SILENT}
        # Between two pauses there is nothing to tell it by; between two faces it stays as it is.
        if len(around) == 1 and (face := around.pop()) >= 0:
            labels[first:stop] = face
        elif not around and kind >= 0:
            labels[first:stop] = SILENT
