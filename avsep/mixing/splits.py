"""The voices of each split, and what must hold for them before lists are drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from avsep.errors import CheckError
from avsep.mixing.config import LISTED
from avsep.mixing.voices import Voices, VoiceTable
from avsep.schema import SPLITS
from avsep.shards.manifest import batch_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from avsep.shards.index import Index


def split_tables(
    voices: Voices,
    index: Index,
    rows: NDArray[np.int64],
    num_samples: Mapping[str, int],
    min_activity: float,
    *,
    grow_lists: bool,
) -> dict[str, VoiceTable]:
    """The voices of each split.

    Args:
        voices: voices of all splits.
        index: index of the set.
        rows: numbers of the rows of the samples that may be mixed.
        num_samples: length of a mixture at 16 kHz, by split.
        min_activity: least share of a window's frames with speech.
        grow_lists: use samples for val and test that were added to the set later.

    Raises:
        CheckError: a voice has no row.
    """
    import pyarrow.compute as pc

    keys = voices.texts("key")
    found = pc.index_in(keys, index.texts("key").take(rows))
    if found.null_count:
        key = keys.filter(pc.is_null(found))[0]
        raise CheckError(f"{key} was measured, but is not in the index; run mix again.")
    row_of = rows[found.to_numpy()]
    codes, names = index.codes("split")
    left_out = np.zeros(len(index), bool) if grow_lists else added_later(index, rows)
    split_of = np.where(left_out[row_of], -1, codes[row_of])
    tables = {}
    for split in SPLITS:
        code = names.index(split) if split in names else len(names)
        part = Voices(voices.table(np.flatnonzero(split_of == code)))
        tables[split] = VoiceTable(part, num_samples[split], min_activity)
    return tables


def added_later(index: Index, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which samples of val and test came after the first ones of their split, (rows of the index,).

    Without them the lists of val and test stay the same however the set grows.

    Args:
        index: index of the set.
        rows: numbers of the rows that count.
    """
    codes, shards = index.codes("shard")
    batch = np.array([batch_of(shard) for shard in shards], np.int64)[codes]
    splits, names = index.codes("split")
    later = np.zeros(len(index), bool)
    for split in LISTED:
        if split in names:
            own = rows[splits[rows] == names.index(split)]
            later[own] = batch[own] > batch[own].min(initial=np.iinfo(np.int64).max)
    return later


def shared_between_splits(tables: Mapping[str, VoiceTable]) -> dict[str, dict[str, list[str]]]:
    """Speakers and groups that occur in more than one split, with these splits.

    Returns:
        `speakers` and `groups`, each by id; both empty where the splits share nothing.
    """
    found: dict[str, dict[str, list[str]]] = {"speakers": {}, "groups": {}}
    for split, table in tables.items():
        for kind, ids in (
            ("speakers", table.speakers),
            ("groups", table.groups),
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
                f"the split {split} has {len(table)} usable samples of"
                f" {len(table.speakers)} speaker(s), and no two of them can be mixed: a pair needs"
                " two speakers and two groups. Add speakers (six, or two with three clips each),"
                f" shorten the mixtures (mix.{split}_seconds), lower mix.min_activity, or set"
                " mix.require_all_splits to false; `avsep ledger failures mix` says why samples"
                " were left out."
            )
