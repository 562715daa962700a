"""Clips with the same content, and videos that are in more than one split."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping

from avsep.schema import Clip

_RANK = {"test": 0, "val": 1, "train": 2}  # what a video in several splits stays in


def find_duplicates(content: Mapping[str, str]) -> dict[str, str]:
    """The clips whose content another clip already has.

    Only the clip with the first id of each content stays, whatever the splits and speakers, so
    that no content is heard in training and again in a test, or on both sides of a mixture.

    Args:
        content: hash of the content by clip id; clips with an empty hash are never duplicates.

    Returns:
        For each clip to drop, the id of the clip that stays.
    """
    first: dict[str, str] = {}
    dropped: dict[str, str] = {}
    for clip_id in sorted(content):
        digest = content[clip_id]
        if not digest:
            continue
        kept = first.setdefault(digest, clip_id)
        if kept != clip_id:
            dropped[clip_id] = kept
    return dropped


def find_split_crossers(clips: Iterable[Clip]) -> dict[str, str]:
    """The kept clips whose video is also in a split that comes first: test, then val.

    One recording in the training and in a test would let a model know the test's voice, room and
    camera, also where the corpus lists it under two people.

    Returns:
        For each clip to drop, by clip id, that other split.
    """
    by_video: dict[tuple[str, str], list[Clip]] = defaultdict(list)
    for clip in clips:
        if clip.kept and clip.video:
            by_video[clip.corpus, clip.video].append(clip)
    crossers: dict[str, str] = {}
    for pieces in by_video.values():
        home = min((clip.split for clip in pieces), key=_RANK.__getitem__)
        crossers |= {clip.clip_id: home for clip in pieces if clip.split != home}
    return crossers
