"""What a set of mixtures consists of, for people: pairs, hours, speakers, shared groups."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from avsep.mixing.protocols import relative_db
from avsep.mixing.splits import shared_between_splits
from avsep.mixing.voices import VoiceTable
from avsep.schema import FPS, RATE_HZ, MixtureRecipe
from avsep.shared_speakers import shared_speakers_note


def summarise_voices(table: VoiceTable) -> dict[str, Any]:
    """Speakers, groups and hours of the voices of one split."""
    return {
        "voices": len(table),
        "hours": _hours(table.total_frames / FPS),
        "speakers": list(table.speakers),
        "groups": list(table.groups),
        "speakers_by_gender": _by_gender(table.gender_of),
        "seconds": table.num_samples / RATE_HZ,
        "min_activity": table.min_activity,
    }


def summarise_list(recipes: Sequence[MixtureRecipe]) -> dict[str, Any]:
    """Pairs, reuse and levels of one list."""
    reuse = Counter(source.key for recipe in recipes for source in recipe.sources)
    pairs = Counter(
        "".join(sorted(source.gender or "?" for source in recipe.sources)) for recipe in recipes
    )
    relative = [relative_db(recipe) for recipe in recipes]
    return {
        "mixtures": len(recipes),
        "hours": _hours(sum(recipe.num_samples for recipe in recipes) / RATE_HZ),
        "pairs_by_gender": dict(sorted(pairs.items())),
        "samples": len(reuse),
        "max_reuse": max(reuse.values(), default=0),
        "scaled": sum(recipe.scale < 1 for recipe in recipes),
        "relative_db": {
            "min": round(min(relative), 2) if relative else None,
            "mean": round(sum(relative) / len(relative), 2) if relative else None,
            "max": round(max(relative), 2) if relative else None,
        },
    }


def report_facts(
    tables: Mapping[str, VoiceTable],
    lists: Mapping[str, Sequence[MixtureRecipe]],
) -> dict[str, str | int | float]:
    """A few figures for the terminal."""
    facts: dict[str, str | int | float] = {
        "train voices": len(tables["train"]),
        "train speakers": len(tables["train"].speakers),
    }
    for split, recipes in lists.items():
        facts[f"{split} mixtures"] = len(recipes)
    if empty := [split for split, table in tables.items() if not table.has_pairs]:
        facts["without any pair to mix"] = ", ".join(empty)
    if shared := shared_between_splits(tables)["groups"]:
        facts["groups in several splits"] = len(shared)
    if note := shared_speakers_note(
        (speaker, split) for split, table in tables.items() for speaker in table.speakers
    ):
        facts["WARNING"] = note
    return facts


def speakers_of_new_groups(train: VoiceTable, other: VoiceTable) -> list[str]:
    """The speakers of a split whose groups do not occur in training.

    Only results on these speakers show how well new voices are separated.
    """
    known = set(train.groups)
    heard = {speaker for speaker, group in other.kinds if group in known}
    return [speaker for speaker in other.speakers if speaker not in heard]


def _by_gender(genders: Mapping[str, str]) -> dict[str, int]:
    return dict(sorted(Counter(gender or "?" for gender in genders.values()).items()))


def _hours(seconds: float) -> float:
    return round(seconds / 3600, 6)
