"""Copies of a clip in another encoding: other bitrate, size, container or volume.

Only clips that last nearly as long are compared, all of these by products of matrices: 1.1 million
clips take minutes. Missed are copies that begin elsewhere (by more than some 20 ms), last longer or
shorter, or are played faster; pieces of each other; and clips below 2 s, which only the hash of
their sound can tell.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from avsep.cleaning.fingerprint import Fingerprint, picture_distance

APART_S = 0.15  # in length: a frame of AAC and one of video
SURE = 0.97  # likeness of sounds from which pictures do not matter
LIKELY = 0.93  # from which they decide; one voice with all but one word the same has 0.86
MAX_PICTURE_BITS = 12.0  # of 64 that alike pictures differ in
BLOCK = 2048
ROUNDING = 1e-3  # of a product in single precision, which machines do not round alike


@dataclass(frozen=True)
class NearDuplicate:
    """A clip that is another one again.

    Attributes:
        of: id of the clip that stays.
        likeness: of the sounds, up to 1.
    """

    of: str
    likeness: float


def find_near_duplicates(
    prints: Mapping[str, tuple[float, Fingerprint]],
) -> dict[str, NearDuplicate]:
    """The clips that are copies of another; of each family the first id stays.

    Args:
        prints: length in seconds and fingerprint by clip id.

    Returns:
        For each clip to drop, which one it is like.
    """
    ids = sorted(i for i, (_, print_) in prints.items() if print_.sound.any())
    ids.sort(key=lambda clip_id: prints[clip_id][0])
    if len(ids) < 2:
        return {}
    lengths = np.array([prints[clip_id][0] for clip_id in ids])
    sounds = np.stack([prints[clip_id][1].sound.ravel() for clip_id in ids])  # int8: 288 B each
    leader = {clip_id: clip_id for clip_id in ids}
    likeness: dict[str, float] = {}
    for first in range(0, len(ids), BLOCK):
        last = min(first + BLOCK, len(ids))
        stop = int(np.searchsorted(lengths, lengths[last - 1] + APART_S, side="right"))
        mine = _normal(sounds[first:last])
        for start in range(first, stop, BLOCK):
            until = min(start + BLOCK, stop)
            alike = mine @ _normal(sounds[start:until]).T
            for row, column in np.argwhere(alike >= LIKELY - ROUNDING):
                one, other = first + int(row), start + int(column)
                if one >= other or lengths[other] - lengths[one] > APART_S:
                    continue
                pair = prints[ids[one]][1], prints[ids[other]][1]
                value = likeness_of(*pair)
                if _is_near_duplicate(value, *pair):
                    _join(leader, ids[one], ids[other])
                    for clip_id in (ids[one], ids[other]):
                        likeness[clip_id] = max(likeness.get(clip_id, 0.0), value)
    heads = {clip_id: _head(leader, clip_id) for clip_id in likeness}
    return {i: NearDuplicate(head, likeness[i]) for i, head in sorted(heads.items()) if head != i}


def likeness_of(one: Fingerprint, other: Fingerprint) -> float:
    """How alike two sounds are, -1 to 1; the same on every machine; 0 where one is too short."""
    a, b = (print_.sound.astype(np.int64).ravel() for print_ in (one, other))
    lengths = math.sqrt(int(a @ a)) * math.sqrt(int(b @ b))
    return int(a @ b) / lengths if lengths else 0.0


def _is_near_duplicate(likeness: float, one: Fingerprint, other: Fingerprint) -> bool:
    if likeness >= SURE:
        return True
    return picture_distance(one.pictures, other.pictures) <= MAX_PICTURE_BITS


def _normal(sounds: np.ndarray) -> np.ndarray:
    """Rows of length 1, float32."""
    rows = sounds.astype(np.float32)
    normal: np.ndarray = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return normal


def _head(leader: dict[str, str], clip_id: str) -> str:
    while leader[clip_id] != clip_id:
        leader[clip_id] = clip_id = leader[leader[clip_id]]
    return clip_id


def _join(leader: dict[str, str], one: str, other: str) -> None:
    """The smaller id leads, whatever the order in which pairs were found."""
    low, high = sorted((_head(leader, one), _head(leader, other)))
    leader[high] = low
