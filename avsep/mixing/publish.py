"""The files of `mix`: the lists, the table of training voices and the summary."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from avsep.files import write_json
from avsep.mixing.published_protocols import PROTOCOLS
from avsep.mixing.recipes import write_recipes
from avsep.mixing.splits import shared_between_splits
from avsep.mixing.summary import speakers_of_new_groups, summarise_list, summarise_voices
from avsep.mixing.training import TRAINING_FILE, TrainingList, write_training
from avsep.mixing.voices import VoiceTable
from avsep.schema import MixtureRecipe


def publish(
    folder: Path,
    tables: Mapping[str, VoiceTable],
    lists: Mapping[str, Sequence[MixtureRecipe]],
    *,
    seed: int,
    training: str,
) -> None:
    """Write `train.parquet`, a `.jsonl` for each list, and `summary.json`.

    Args:
        folder: folder of the files.
        tables: voices of each split.
        lists: recipes of `val` and `test`.
        seed: seed of the lists and of training.
        training: protocol of training.
    """
    for split, recipes in lists.items():
        write_recipes(folder / f"{split}.jsonl", recipes)
    table = tables["train"]
    write_training(
        folder / TRAINING_FILE,
        TrainingList(
            protocol=training,
            version=PROTOCOLS[training].version,
            seed=seed,
            num_samples=table.num_samples,
            min_activity=table.min_activity,
            voices=table.columns(),
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
