"""Tracklets of one face linked into a speaker, by place and appearance; kept apart when in doubt.

An extra speaker costs a file, but two people in one file would be a swap. The appearance (see
`avsep.faces.appearance`) covers the face, the hair and what is behind them: a camera that cuts
back shows them again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from avsep.schema import FPS
from avsep.separation.tracking import FaceSpan, Tracklet

# Least likeness (correlation, -1..1) of two tracklets of one person. Between different people its
# median is 0.2, and one pair in twenty reaches 0.46.
SAME_APPEARANCE = 0.7
SAME_APPEARANCE_IN_PLACE = 0.5  # where the face is also in its last place
MARGIN = 0.15  # by which the best speaker must beat the next one
PLACE_SHARE = 0.5  # how far a face in the same place may have moved, in sides of its box
SIZE_RATIO = 1.3  # how much it may have grown or shrunk
PLACE_FRAMES = 10 * FPS  # how long a place is remembered
REMEMBERED = 12  # last tracklets of a speaker whose appearance is compared
TOGETHER = 10  # tracklets that start within this many frames start together, as after a cut


@dataclass(frozen=True, eq=False)
class SpeakerTrack:
    """The tracklets of one speaker, in order, not overlapping."""

    tracklets: tuple[Tracklet, ...]

    @property
    def seen_frames(self) -> int:
        """Number of frames in which the face was tracked."""
        return sum(len(tracklet.valid) for tracklet in self.tracklets)


def link_tracklets(tracklets: Sequence[Tracklet]) -> list[SpeakerTrack]:
    """Link tracklets into speakers, sorted by first second, then from left to right."""
    speakers: list[list[Tracklet]] = []
    waiting = sorted(tracklets, key=lambda tracklet: tracklet.start)
    while waiting:
        end = min(waiting[0].start + TOGETHER, waiting[0].stop)
        group = [tracklet for tracklet in waiting if tracklet.start < end]
        waiting = waiting[len(group) :]
        speaker_of = assign(group, speakers)
        for number, tracklet in enumerate(group):
            if number in speaker_of:
                speakers[speaker_of[number]].append(tracklet)
            else:
                speakers.append([tracklet])
    tracks = [SpeakerTrack(tuple(speaker)) for speaker in speakers]
    return sorted(
        tracks, key=lambda t: (t.tracklets[0].start // FPS, float(t.tracklets[0].first_box[0]))
    )


def assign(group: Sequence[FaceSpan], speakers: Sequence[Sequence[FaceSpan]]) -> dict[int, int]:
    """The speaker that each tracklet of a group belongs to, where there is no doubt.

    Args:
        group: tracklets that start together, so they are different faces.
        speakers: the earlier tracklets of each speaker, in order.

    Returns:
        Number of the speaker by number of the tracklet; each speaker occurs at most once.
    """
    if not speakers:
        return {}
    table = np.array([[likeness(speaker, span) for speaker in speakers] for span in group])
    candidates = []
    for number, span in enumerate(group):
        best = int(table[number].argmax())
        other_speakers = np.delete(table[number], best)
        # Another tracklet of the group that fits as well makes the choice doubtful, too.
        other_spans = np.delete(table[:, best], number)
        second = max(other_speakers.max(initial=-1.0), other_spans.max(initial=-1.0))
        last = speakers[best][-1]
        limit = SAME_APPEARANCE_IN_PLACE if in_place(last, span) else SAME_APPEARANCE
        if last.stop <= span.start and table[number, best] >= max(limit, second + MARGIN):
            candidates.append((float(table[number, best]), number, best))
    assigned: dict[int, int] = {}
    for _, number, best in sorted(candidates, reverse=True):
        if best not in assigned.values():
            assigned[number] = best
    return assigned


def likeness(speaker: Sequence[FaceSpan], span: FaceSpan) -> float:
    """The highest correlation of a tracklet with the last ones of a speaker, -1..1."""
    return max(float((s.appearance @ span.appearance.T).max()) for s in speaker[-REMEMBERED:])


def in_place(before: FaceSpan, after: FaceSpan) -> bool:
    """Whether a face starts about where another one was last, soon after and as large."""
    ratio = float(after.first_box[2] / before.last_box[2])
    distance = float(np.hypot(*(after.first_box[:2] - before.last_box[:2])))
    return (
        1 / SIZE_RATIO <= ratio <= SIZE_RATIO
        and distance <= PLACE_SHARE * float(before.last_box[2])
        and after.start - before.stop <= PLACE_FRAMES
    )
