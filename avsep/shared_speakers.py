"""Say that speakers are in several splits, which every stage that makes splits must."""

from __future__ import annotations

from collections.abc import Iterable


def shared_speakers_note(speakers_and_splits: Iterable[tuple[str, str]]) -> str:
    """A sentence about speakers who are in several splits; empty if there are none."""
    splits: dict[str, set[str]] = {}
    for speaker, split in speakers_and_splits:
        splits.setdefault(speaker, set()).add(split)
    shared = sorted(speaker for speaker, found in splits.items() if len(found) > 1)
    if not shared:
        return ""
    return (
        f"{len(shared)} of {len(splits)} speakers are in several splits (e.g. {shared[0]}), clip by"
        " clip; results do not show how well new speakers are separated: add speakers, six or more"
    )
