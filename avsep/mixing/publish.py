"""The files of `mix`: lists, training table and summary, once the splits are found sound."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from avsep.errors import CheckError
from avsep.files import write_json
from avsep.mixing.published_protocols import PROTOCOLS
from avsep.mixing.recipes import write_recipes
from avsep.mixing.summary import (
    shared_between_splits,
    speakers_of_new_groups,
    summarise_list,
    summarise_voices,
)
from avsep.mixing.training import TrainingList, write_training
from avsep.mixing.voices import VoiceTable
from avsep.schema import MixtureRecipe


def check_splits(
    tables: Mapping[str, VoiceTable], needed: Sequence[str], *, allow_shared_speakers: bool
) -> None:
    """Pass when no speaker is in two splits and each split that is needed has a pair to mix.

    Args:
        tables: the voices of each split.
        needed: splits that must have a pair.
        allow_shared_speakers: pass over speakers in two splits.

    Raises:
        CheckError: names the speaker or the split, and what to do.
    """
    shared = shared_between_splits(tables)["speakers"]
    if shared and not allow_shared_speakers:
        name, splits = next(iter(shared.items()))
        raise CheckError(
            f"{len(shared)} speaker(s) occur in several splits, e.g. {name} in"
            f" {' and '.join(splits)}; give each speaker one split, or set"
            " mix.allow_shared_speakers."
        )
    for split in needed:
        table = tables[split]
        if not table.has_pairs:
            raise CheckError(
                f"the split {split} has {len(table.voices)} usable samples of"
                f" {len(table.speakers)} speaker(s), and no two that may be mixed (other speaker,"
                " other group): give it more speakers, shorten its mixtures"
                f" (mix.{split}_seconds), lower mix.min_activity, or set"
                " mix.require_all_splits to false; `avsep ledger failures mix` tells why samples"
                " were left out."
            )


def publish(
    folder: Path,
    tables: Mapping[str, VoiceTable],
    lists: Mapping[str, Sequence[MixtureRecipe]],
    *,
    seed: int,
    training: str,
) -> None:
    """Write `train.json`, a `.jsonl` for each list, and `summary.json`.

    Args:
        folder: where to.
        tables: the voices of each split.
        lists: the recipes of `val` and `test`.
        seed: of the lists and of training.
        training: the protocol of training.
    """
    for split, recipes in lists.items():
        write_recipes(folder / f"{split}.jsonl", recipes)
    table = tables["train"]
    write_training(
        folder / "train.json",
        TrainingList(
            protocol=training,
            version=PROTOCOLS[training].version,
            seed=seed,
            num_samples=table.num_samples,
            min_activity=table.min_activity,
            voices=tuple(table.voices),
        ),
    )
    write_json(
        folder / "summary.json",
        {
            "protocol": training,
            "version": PROTOCOLS[training].version,
            "seed": seed,
            "splits": {split: summarise_voices(table) for split, table in tables.items()},
            "lists": {split: summarise_list(recipes) for split, recipes in lists.items()},
            "shared_between_splits": shared_between_splits(tables),
            "speakers_of_new_groups": {
                split: speakers_of_new_groups(tables["train"], tables[split]) for split in lists
            },
        },
    )
