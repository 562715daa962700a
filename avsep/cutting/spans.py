"""Spans of a recording in which exactly one visible face speaks, and what lies between them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from avsep.cutting.activity import OFF_SCREEN, OVERLAP, SILENT, Face, frame_levels, runs
from avsep.cutting.config import CuttingConfig
from avsep.schema import FPS

TRIM = 7  # frames that are cut off where another voice follows without a pause
LEAD = 4  # frames of silence that are kept before and after speech
LOUDNESS_RANGE_DB = 35.0
QUICK = 13  # frames, half a second
MAX_LAG = 4  # frames by which sound and mouth may be apart


class What(StrEnum):
    """What a span of a recording is."""

    CLIP = "clip"
    OVERLAP = "overlapped_speech"
    OFF_SCREEN = "voice_off_screen"
    TOO_SHORT = "too_short"
    NOT_IN_STEP = "mouth_not_in_step"
    FACES_TOO_CLOSE = "faces_too_close"


@dataclass(frozen=True, kw_only=True)
class Span:
    """A span of a recording.

    Attributes:
        what: a clip, or why it is not one.
        start: number of the first frame.
        stop: number of the frame after the last.
        face: number of the face that speaks; -1 where none or several do.
        score: correlation of the opening of the lips with the loudness, -1..1; 0 without a face.
    """

    what: What
    start: int
    stop: int
    face: int = -1
    score: float = 0.0

    @property
    def seconds(self) -> float:
        """Its length."""
        return (self.stop - self.start) / FPS


def find_spans(
    labels: np.ndarray, faces: Sequence[Face], audio: np.ndarray, config: CuttingConfig
) -> list[Span]:
    """The clips of a recording and the speech that is left out, in order.

    Args:
        labels: (T,) from `who_speaks`.
        faces: the tracked faces; a track ends at a cut, so no clip goes over one.
        audio: (640 T,) int16 at 16 kHz.
        config: what makes a clip.
    """
    level_db = frame_levels(audio)
    spans: list[Span] = []
    for face, start, stop in _speeches(labels, faces, config):
        for first, last in _pieces(start, stop, labels, level_db, config):
            spans.append(_judged(face, first, last, faces, level_db, config))
    for kind, what in ((OVERLAP, What.OVERLAP), (OFF_SCREEN, What.OFF_SCREEN)):
        spans += [Span(what=what, start=a, stop=b) for a, b in runs(labels == kind)]
    return sorted(spans, key=lambda span: (span.start, span.stop))


def _speeches(
    labels: np.ndarray, faces: Sequence[Face], config: CuttingConfig
) -> Iterator[tuple[int, int, int]]:
    """Each face with first frame and frame after the last of its uninterrupted speeches."""
    longest = round(config.max_pause_s * FPS)
    for number, face in enumerate(faces):
        inside = runs(labels[face.start : face.stop] == number)
        joined: list[list[int]] = []
        for first, stop in inside:
            gap = slice(joined[-1][1], first) if joined else slice(0, 0)
            silent = (labels[face.start : face.stop][gap] == SILENT).all() and face.seen[gap].all()
            if joined and silent and first - joined[-1][1] <= longest:
                joined[-1][1] = stop
            else:
                joined.append([first, stop])
        for first, stop in joined:
            start, end = face.start + first, face.start + stop
            yield number, *_with_silence(start, end, labels, face)


def _with_silence(start: int, stop: int, labels: np.ndarray, face: Face) -> tuple[int, int]:
    """A speech with a little of the silence around it, or less where another voice is near."""
    before = labels[max(0, start - TRIM) : start]
    after = labels[stop : stop + TRIM]
    if (before != SILENT).any():
        start += TRIM
    else:
        start -= _free(face, range(start - 1, start - 1 - min(LEAD, len(before)), -1))
    if (after != SILENT).any():
        stop -= TRIM
    else:
        stop += _free(face, range(stop, stop + min(LEAD, len(after))))
    return start, max(start, stop)


def _free(face: Face, frames: range) -> int:
    """How many of the frames, from the first one on, show the face."""
    count = 0
    for frame in frames:
        if not (face.start <= frame < face.stop and face.seen[frame - face.start]):
            break
        count += 1
    return count


def _pieces(
    start: int, stop: int, labels: np.ndarray, level_db: np.ndarray, config: CuttingConfig
) -> Iterator[tuple[int, int]]:
    """A speech in parts that are not too long, divided where it is quietest."""
    most, least = int(config.max_s * FPS), round(config.min_s * FPS)
    while stop - start > most:
        low, high = start + most // 2, min(start + most, stop - least)
        if high <= low:  # the rest would be too short: two halves
            low = high = (start + stop) // 2
        level = level_db[low : high + 1] - 100.0 * (labels[low : high + 1] == SILENT)
        cut = low + int(np.argmin(level))
        yield start, cut
        start = cut
    yield start, stop


def _judged(
    number: int,
    start: int,
    stop: int,
    faces: Sequence[Face],
    level_db: np.ndarray,
    config: CuttingConfig,
) -> Span:
    if stop - start < round(config.min_s * FPS):
        return Span(what=What.TOO_SHORT, start=start, stop=stop, face=number)
    face = faces[number]
    score = in_step(face, start, stop, level_db)
    what = What.CLIP if score >= config.min_score else What.NOT_IN_STEP
    return Span(what=what, start=start, stop=stop, face=number, score=round(score, 4))


def in_step(face: Face, start: int, stop: int, level_db: np.ndarray) -> float:
    """Highest correlation of the opening of the lips with the loudness over a few lags, -1..1.

    Of both, only what changes within half a second counts: sentences and pauses of two speakers,
    or of another recording, fall together by chance.
    """
    top = np.percentile(level_db, 95)
    loud = _quick(np.clip((level_db[start:stop] - top) / LOUDNESS_RANGE_DB + 1, 0, 1))
    opening = _quick(face.opening[start - face.start : stop - face.start].astype(np.float64))
    total, best = len(loud), -1.0
    for lag in range(-MAX_LAG, MAX_LAG + 1):
        mouth = opening[max(0, -lag) : total - max(0, lag)]
        sound = loud[max(0, lag) : total - max(0, -lag)]
        if mouth.std() > 1e-9 and sound.std() > 1e-9:
            best = max(best, float(np.corrcoef(mouth, sound)[0, 1]))
    return best


def _quick(curve: np.ndarray) -> np.ndarray:
    """A curve (T,) without its slow changes: less its mean over half a second."""
    half = QUICK // 2
    padded = np.pad(curve, half, mode="edge")
    return curve - np.convolve(padded, np.full(QUICK, 1 / QUICK), mode="valid")
