"""Clips with the same content, and videos that occur in more than one split."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from avsep.schema import Clip

_RANK = {"test": 0, "val": 1, "train": 2}  # a video in several splits stays in the first


def find_duplicates(content: Mapping[str, str]) -> dict[str, str]:
    """Find clips whose content another clip already has.

    Of each content only the clip with the first id stays, whatever the splits and speakers, so
    that no content occurs both in training and in a test, or twice in one mixture.

    Args:
        content: hash of the content, by clip id; clips with an empty hash are never duplicates.

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


def find_split_crossers(clips: Collection[Clip]) -> dict[str, str]:
    """Find kept clips whose video also occurs in a split with precedence: test, then val.

    A recording in both training and test would teach a model the voice, room and camera of the
    test, even where the corpus lists it under two people.

    Returns:
        For each clip to drop, by clip id, the split that keeps the video.
    """
    home: dict[tuple[str, str], str] = {}
    for clip in clips:
        if clip.kept and clip.video:
            video = clip.corpus, clip.video
            home[video] = min(clip.split, home.get(video, clip.split), key=_RANK.__getitem__)
    return {
        clip.clip_id: split
        for clip in clips
        if clip.kept and clip.video and (split := home[clip.corpus, clip.video]) != clip.split
    }
