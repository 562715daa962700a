"""Near duplicates: copies of a clip with another bitrate, size, container or volume.

Only clips of nearly the same length are compared, all pairs at once by matrix products: 1.1 million
clips take minutes. Not found are copies that start elsewhere (by more than about 20 ms), that are
longer, shorter or played faster, clips that are parts of each other, and clips shorter than 2 s,
which only the hash of their sound can match.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from avsep.cleaning.fingerprint import MAX_STEPS, NUM_BANDS, Fingerprint, picture_distance
from avsep.grouping import connected_groups

APART_S = 0.15  # largest difference in length, in seconds: a frame of AAC and one of video
SURE = 0.97  # sound similarity from which the pictures do not matter
LIKELY = 0.93  # from which they decide; one voice with all but one word the same has 0.86
MAX_PICTURE_BITS = 12.0  # of 64, by which similar pictures differ
BLOCK = 2048
DIRECTIONS = 48  # of 288
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
    ids: Sequence[str], lengths_s: Sequence[float], prints: Sequence[Fingerprint]
) -> dict[str, NearDuplicate]:
    """Find clips that are copies of another clip. Of each group of copies, the first id stays.

    Args:
        ids: ids of the clips.
        lengths_s: their lengths in seconds.
        prints: their fingerprints, which may be made when they are asked for.

    Returns:
        For each clip to drop, which clip it repeats.
    """
    sounds = np.empty((len(ids), MAX_STEPS * NUM_BANDS), np.int8)
    for row, print_ in enumerate(prints):
        sounds[row] = print_.sound.ravel()
    loud = np.flatnonzero(sounds.any(axis=1))
    lengths = np.asarray(lengths_s, np.float64)
    order = np.array(sorted(loud.tolist(), key=lambda row: (lengths[row], ids[row])), np.intp)
    sounds, lengths = sounds[order], lengths[order]
    pairs: list[tuple[str, str]] = []
    similarity: dict[str, float] = {}
    for one, other in _candidates(lengths, sounds):
        rows = int(order[one]), int(order[other])
        pair = prints[rows[0]], prints[rows[1]]
        value = sound_similarity(*pair)
        if value >= SURE or picture_distance(*pair) <= MAX_PICTURE_BITS:
            pairs.append((ids[rows[0]], ids[rows[1]]))
            for clip_id in pairs[-1]:
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
    """Pairs of clips of about the same length whose sounds are similar enough.

    A few directions, in which the sounds differ most, and how much lies outside of them give an
    upper bound of the similarity. Only pairs above the bound are compared in all directions.

    Args:
        lengths: (clips,) in seconds, sorted.
        sounds: (clips, values) int8.
    """
    bounds = _bounds(sounds)
    for first in range(0, len(lengths), BLOCK):
        last = min(first + BLOCK, len(lengths))
        stop = int(np.searchsorted(lengths, lengths[last - 1] + APART_S, side="right"))
        for start in range(first, stop, BLOCK):
            similar = bounds[first:last] @ bounds[start : min(start + BLOCK, stop)].T
            # Flat: ten times faster than by rows and columns, and mostly there is none.
            places = np.flatnonzero(similar >= LIKELY - ROUNDING)
            ones, others = first + places // similar.shape[1], start + places % similar.shape[1]
            fit = (ones < others) & (lengths[others] - lengths[ones] <= APART_S)
            ones, others = ones[fit], others[fit]
            for part in range(0, len(ones), BLOCK):
                some = slice(part, part + BLOCK)
                exact = np.einsum(
                    "ij,ij->i", _unit_rows(sounds[ones[some]]), _unit_rows(sounds[others[some]])
                )
                near = exact >= LIKELY - ROUNDING
                yield from zip(ones[some][near].tolist(), others[some][near].tolist(), strict=True)


def _bounds(sounds: np.ndarray) -> np.ndarray:
    """Vectors whose products are at least the similarity of the sounds, (clips, 1 + DIRECTIONS).

    For unit vectors, the product is that of the parts in some directions and of the rests, which
    is at most the product of the lengths of the rests.
    """
    size = sounds.shape[1]
    spread = np.zeros((size, size))
    parts = [slice(first, first + BLOCK) for first in range(0, len(sounds), BLOCK)]
    for part in parts:
        rows = _unit_rows(sounds[part])
        spread += rows.T @ rows
    directions = np.linalg.eigh(spread)[1][:, -DIRECTIONS:].astype(np.float32)
    bounds = np.empty((len(sounds), 1 + directions.shape[1]), np.float32)
    for part in parts:
        bounds[part, 1:] = _unit_rows(sounds[part]) @ directions
        inside = np.square(bounds[part, 1:]).sum(axis=1)
        bounds[part, 0] = np.sqrt(np.maximum(0, 1 - inside))
    return bounds


def _unit_rows(sounds: np.ndarray) -> np.ndarray:
    """Rows scaled to length 1, float32."""
    rows = sounds.astype(np.float32)
    unit: np.ndarray = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return unit
