"""Clips with the same content: the first is kept, also across splits and speakers."""

from __future__ import annotations

from collections.abc import Mapping


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
