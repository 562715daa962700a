"""Tracklets of one face joined into a speaker, by place and appearance; split when in doubt.

Two speakers that are one person cost a file too many; one speaker that is two persons is a swap.
The appearance is that of `avsep.faces.appearance`: face, hair and what is behind them, which a
camera shows again when it is cut back to.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from avsep.schema import FPS
from avsep.separation.tracking import Tracklet

# Likeness (correlation, -1..1) of two tracklets of one person. Between different people it is 0.2
# in the median and 0.46 in one of twenty.
SAME_APPEARANCE = 0.7
SAME_APPEARANCE_IN_PLACE = 0.5  # where the face was last as well
MARGIN = 0.15  # by which the best speaker must beat the next one
PLACE_SHARE = 0.5  # of its side that a face may have moved to be in its place
SIZE_RATIO = 1.3  # by which it may have grown or shrunk
PLACE_FRAMES = 10 * FPS  # a place is remembered for this long
REMEMBERED = 12  # tracklets of a speaker whose appearance is compared
TOGETHER = 10  # frames within which tracklets count as starting together, after a cut say


class Appearance(Protocol):
    """A face that was followed for a while, as far as joining goes; see `following.Tracklet`."""

    @property
    def start(self) -> int:
        """First frame."""

    @property
    def stop(self) -> int:
        """Frame after the last."""

    @property
    def first_box(self) -> np.ndarray:
        """(3,) centre x, centre y and side at first."""

    @property
    def last_box(self) -> np.ndarray:
        """(3,) likewise, at last."""

    @property
    def appearance(self) -> np.ndarray:
        """(2, 432) at first and at last."""


@dataclass(frozen=True, eq=False)
class SpeakerTrack:
    """The tracklets of one speaker, in order, not overlapping."""

    tracklets: tuple[Tracklet, ...]

    @property
    def seen_frames(self) -> int:
        """Frames in which the face was followed."""
        return sum(len(tracklet.valid) for tracklet in self.tracklets)


def link_tracklets(tracklets: Sequence[Tracklet]) -> list[SpeakerTrack]:
    """Join tracklets (by first frame) into chains, by first appearance, then left to right."""
    chains: list[list[Tracklet]] = []
    waiting = sorted(tracklets, key=lambda tracklet: tracklet.start)
    while waiting:
        end = min(waiting[0].start + TOGETHER, waiting[0].stop)
        group = [tracklet for tracklet in waiting if tracklet.start < end]
        waiting = waiting[len(group) :]
        chosen = assign(group, chains)
        for number, tracklet in enumerate(group):
            if number in chosen:
                chains[chosen[number]].append(tracklet)
            else:
                chains.append([tracklet])
    made = [SpeakerTrack(tuple(chain)) for chain in chains]
    return sorted(
        made, key=lambda c: (c.tracklets[0].start // FPS, float(c.tracklets[0].first_box[0]))
    )


def assign(group: Sequence[Appearance], chains: Sequence[Sequence[Appearance]]) -> dict[int, int]:
    """Which tracklet of a group goes on which chain; each chain is taken once."""
    if not chains:
        return {}
    table = np.array([[likeness(chain, tracklet) for chain in chains] for tracklet in group])
    wanted = []
    for number, tracklet in enumerate(group):
        best = int(table[number].argmax())
        others = np.delete(table[number], best)
        # Another tracklet of the group that fits as well puts the choice in doubt, too.
        rivals = np.delete(table[:, best], number)
        doubt = max(others.max(initial=-1.0), rivals.max(initial=-1.0))
        chain = chains[best]
        limit = SAME_APPEARANCE_IN_PLACE if in_place(chain[-1], tracklet) else SAME_APPEARANCE
        free = chain[-1].stop <= tracklet.start
        if free and table[number, best] >= max(limit, doubt + MARGIN):
            wanted.append((float(table[number, best]), number, best))
    chosen: dict[int, int] = {}
    for _, number, best in sorted(wanted, reverse=True):
        if best not in chosen.values():
            chosen[number] = best
    return chosen


def likeness(chain: Sequence[Appearance], tracklet: Appearance) -> float:
    """How alike a tracklet is to the most similar of a chain's last ones, -1..1."""
    return max(float((f.appearance @ tracklet.appearance.T).max()) for f in chain[-REMEMBERED:])


def in_place(before: Appearance, after: Appearance) -> bool:
    """Whether a face starts about where, and as large as, another one was last."""
    ratio = float(after.first_box[2] / before.last_box[2])
    distance = float(np.hypot(*(after.first_box[:2] - before.last_box[:2])))
    return (
        1 / SIZE_RATIO <= ratio <= SIZE_RATIO
        and distance <= PLACE_SHARE * float(before.last_box[2])
        and after.start - before.stop <= PLACE_FRAMES
    )
