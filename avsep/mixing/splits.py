"""The voices of each split, and what must hold for them before lists are drawn."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from avsep.errors import CheckError
from avsep.mixing.voices import Voice, VoiceTable
from avsep.schema import SPLITS
from avsep.shards.manifest import batch_of

if TYPE_CHECKING:
    from avsep.shards.index import IndexRow

LISTED = ("val", "test")  # these have fixed lists; training draws without end


def split_tables(
    voices: Iterable[Voice],
    rows: Sequence[IndexRow],
    num_samples: Mapping[str, int],
    min_activity: float,
    *,
    grow_lists: bool,
) -> dict[str, VoiceTable]:
    """The voices of each split.

    Args:
        voices: voices of all splits.
        rows: index rows of their samples.
        num_samples: length of a mixture at 16 kHz, by split.
        min_activity: least share of a window's frames with speech.
        grow_lists: use samples for val and test that were added to the set later.

    Raises:
        CheckError: a voice has no row.
    """
    split_of = {row.key: row.split for row in rows}
    left_out = set() if grow_lists else added_later(rows)
    by_split: dict[str, list[Voice]] = {split: [] for split in SPLITS}
    for voice in voices:
        if voice.key not in split_of:
            raise CheckError(f"{voice.key} was measured, but is not in the index; run mix again.")
        if voice.key not in left_out:
            by_split[split_of[voice.key]].append(voice)
    return {
        split: VoiceTable(by_split[split], num_samples[split], min_activity) for split in SPLITS
    }


def added_later(rows: Sequence[IndexRow]) -> set[str]:
    """The samples of val and test that came after the first ones of their split.

    Without them the lists of val and test stay the same however the set grows.
    """
    first: dict[str, int] = {}
    for row in rows:
        batch = batch_of(row.shard)
        first[row.split] = min(batch, first.get(row.split, batch))
    return {
        row.key for row in rows if row.split in LISTED and batch_of(row.shard) > first[row.split]
    }


def shared_between_splits(tables: Mapping[str, VoiceTable]) -> dict[str, dict[str, list[str]]]:
    """Speakers and groups that occur in more than one split, with these splits.

    Returns:
        `speakers` and `groups`, each by id; both empty where the splits share nothing.
    """
    found: dict[str, dict[str, list[str]]] = {"speakers": {}, "groups": {}}
    for split, table in tables.items():
        for kind, ids in (
            ("speakers", set(table.speakers)),
            ("groups", {voice.group for voice in table.voices}),
        ):
            for name in ids:
                found[kind].setdefault(name, []).append(split)
    return {
        kind: {name: splits for name, splits in sorted(names.items()) if len(splits) > 1}
        for kind, names in found.items()
    }


def check_splits(
    tables: Mapping[str, VoiceTable], needed: Sequence[str], *, allow_shared_speakers: bool
) -> None:
    """Pass when no speaker is in two splits and each split that is needed has a pair to mix.

    Args:
        tables: voices of each split.
        needed: splits that must have a pair.
        allow_shared_speakers: accept speakers that are in two splits.

    Raises:
        CheckError: names the speaker or the split, and what to do.
    """
    shared = shared_between_splits(tables)["speakers"]
    if shared and not allow_shared_speakers:
        name, splits = next(iter(shared.items()))
        raise CheckError(
            f"{len(shared)} speaker(s) are in more than one split, e.g. {name} in"
            f" {' and '.join(splits)}; give each speaker one split, or set"
            " mix.allow_shared_speakers."
        )
    for split in needed:
        table = tables[split]
        if not table.has_pairs:
            raise CheckError(
                f"the split {split} has {len(table.voices)} usable samples of"
                f" {len(table.speakers)} speaker(s), and no two of them can be mixed: a pair needs"
                " two speakers and two groups. Add speakers (six, or two with three clips each),"
                f" shorten the mixtures (mix.{split}_seconds), lower mix.min_activity, or set"
                " mix.require_all_splits to false; `avsep ledger failures mix` says why samples"
                " were left out."
            )
