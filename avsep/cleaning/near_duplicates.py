"""Near duplicates: copies of a clip with another bitrate, size, container or volume.

Only clips of nearly the same length are compared, all pairs at once by matrix products: 1.1 million
clips take minutes. Not found are copies that start elsewhere (by more than about 20 ms), that are
longer, shorter or played faster, clips that are parts of each other, and clips shorter than 2 s,
which only the hash of their sound can match.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from avsep.cleaning.fingerprint import Fingerprint, picture_distance
from avsep.grouping import connected_groups

APART_S = 0.15  # largest difference in length, in seconds: a frame of AAC and one of video
SURE = 0.97  # sound similarity from which the pictures do not matter
LIKELY = 0.93  # from which they decide; one voice with all but one word the same has 0.86
MAX_PICTURE_BITS = 12.0  # of 64, by which similar pictures differ
BLOCK = 2048
ROUNDING = 1e-3  # error of a product in single precision, which differs between machines


@dataclass(frozen=True)
class NearDuplicate:
    """A clip that repeats another one.

    Attributes:
        of: id of the clip that stays.
        similarity: highest similarity of its sound to that of another clip of the group, up to 1.
    """

    of: str
    similarity: float


def find_near_duplicates(
    prints: Mapping[str, tuple[float, Fingerprint]],
) -> dict[str, NearDuplicate]:
    """Find clips that are copies of another clip. Of each group of copies, the first id stays.

    Args:
        prints: length in seconds and fingerprint, by clip id.

    Returns:
        For each clip to drop, which clip it repeats.
    """

    ids = sorted(i for i, (_, print_) in prints.items() if print_.sound.any())
    ids.sort(key=lambda clip_id: prints[clip_id][0])
    if not ids:
        return {}
    lengths = np.array([prints[clip_id][0] for clip_id in ids])
    sounds = np.stack([prints[clip_id][1].sound.ravel() for clip_id in ids])  # int8: 288 B each
    pairs: list[tuple[str, str]] = []
    similarity: dict[str, float] = {}
    for one, other in _candidates(lengths, sounds):
        pair = prints[ids[one]][1], prints[ids[other]][1]
        value = sound_similarity(*pair)
        if value >= SURE or picture_distance(*pair) <= MAX_PICTURE_BITS:
            pairs.append((ids[one], ids[other]))
            for clip_id in (ids[one], ids[other]):
                similarity[clip_id] = max(similarity.get(clip_id, 0.0), value)
    return {
        clip_id: NearDuplicate(first, similarity[clip_id])
        for clip_id, first in sorted(connected_groups(pairs).items())
        if first != clip_id
    }


def sound_similarity(one: Fingerprint, other: Fingerprint) -> float:
    """How similar two sounds are, -1 to 1; the same on every machine; 0 where one is too short."""
    a, b = (print_.sound.astype(np.int64).ravel() for print_ in (one, other))
    lengths = math.sqrt(int(a @ a)) * math.sqrt(int(b @ b))
    return int(a @ b) / lengths if lengths else 0.0


def _candidates(lengths: np.ndarray, sounds: np.ndarray) -> Iterator[tuple[int, int]]:
    """Pairs of clips of about the same length whose sounds may be similar enough.

    Args:
        lengths: (clips,) in seconds, sorted.
        sounds: (clips, values) int8.
    """
    for first in range(0, len(lengths), BLOCK):
        last = min(first + BLOCK, len(lengths))
        stop = int(np.searchsorted(lengths, lengths[last - 1] + APART_S, side="right"))
        block = _unit_rows(sounds[first:last])
        for start in range(first, stop, BLOCK):
            similar = block @ _unit_rows(sounds[start : min(start + BLOCK, stop)]).T
            for row, column in np.argwhere(similar >= LIKELY - ROUNDING):
                one, other = first + int(row), start + int(column)
                if one < other and lengths[other] - lengths[one] <= APART_S:
                    yield one, other


def _unit_rows(sounds: np.ndarray) -> np.ndarray:
    """Rows scaled to length 1, float32."""
    rows = sounds.astype(np.float32)
    unit: np.ndarray = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return unit
