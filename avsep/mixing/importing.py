"""Turn published lists into recipes over our own samples: the same mixtures as in the papers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from avsep.errors import CheckError
from avsep.mixing.external_lists import ListedMixture, ListedVoice, read_external_list
from avsep.mixing.published_protocols import CTCNET, MUSE, PROTOCOLS, ctcnet_recipe, muse_recipe
from avsep.mixing.recipes import content_id
from avsep.mixing.render import GetAudio
from avsep.mixing.selection import voice_of
from avsep.schema import SAMPLES_PER_FRAME, MixtureRecipe

if TYPE_CHECKING:
    from avsep.shards.index import IndexRow

# Lengths of the ends of clip ids: `<video>-<5>`, for VoxCeleb2 with `id<5>-` before it.
_TAILS = (7 + 1 + 11 + 1 + 5, 19 + 1 + 5, 11 + 1 + 5)


def import_list(
    path: Path,
    rows: Sequence[IndexRow],
    get_audio: GetAudio,
    *,
    split: str,
    num_samples: int,
    max_missing_share: float,
) -> list[MixtureRecipe]:
    """The recipes of a published list.

    Args:
        path: an `.scp` of the CTCNet family, or a `.csv` of MuSE, from which the mixtures of the
            split are taken; also with `.gz`.
        rows: all rows of the index; a list may use samples of any split.
        get_audio: gives the sound of a sample key, (samples,) int16 at 16 kHz.
        split: `val` or `test`.
        num_samples: length of a mixture at 16 kHz; MuSE's test mixtures are as long as their
            shorter voice.
        max_missing_share: largest share of mixtures whose samples may be missing, 0..1.

    Raises:
        CheckError: the samples of too many mixtures are missing; names one.
    """
    published = read_external_list(path)
    protocol = MUSE if path.name.removesuffix(".gz").endswith(".csv") else CTCNET
    if protocol == MUSE and split not in published:
        raise CheckError(f"{path} has no mixtures of the split {split}.")
    listed = published[split] if protocol == MUSE else next(iter(published.values()))
    known = _by_tail(rows)
    length = 0 if protocol == MUSE and split == "test" else num_samples
    recipes: dict[str, MixtureRecipe] = {}
    missing: list[str] = []
    for mixture in listed:
        found = [known.get(_tail(voice)) for voice in mixture.voices]
        gone = [
            voice.utterance
            for voice, row in zip(mixture.voices, found, strict=True)
            if row is None or row.num_frames * SAMPLES_PER_FRAME < max(1, length)
        ]
        windows = [
            (voice_of(row, level_dbfs=row.level_dbfs, active=()), 0)
            for row in found
            if row is not None
        ]
        make = muse_recipe if protocol == MUSE else ctcnet_recipe
        made = None if gone else make(windows, get_audio, _offsets(mixture), length)
        if made is None:
            missing += gone[:1] or [mixture.voices[0].utterance]
            continue
        made = replace(made, version=PROTOCOLS[protocol].version)
        name = content_id(split, made)
        recipes[name] = replace(made, mixture_id=name)
    if len(missing) > max_missing_share * len(listed):
        raise CheckError(
            f"{len(missing)} of {len(listed)} mixtures of {path.name} cannot be made from the"
            f" shards, e.g. because {missing[0]} is missing or too short; add its corpus, or raise"
            " mix.max_missing_share."
        )
    return list(recipes.values())


def _offsets(mixture: ListedMixture) -> list[float]:
    return [voice.level_db for voice in mixture.voices]


def _by_tail(rows: Sequence[IndexRow]) -> Mapping[str, IndexRow]:
    """The samples by the end of their clip ids; the first face of each clip."""
    found: dict[str, IndexRow] = {}
    for row in sorted(rows, key=lambda row: row.key):
        for length in _TAILS:
            if len(row.clip_id) >= length:
                found.setdefault(row.clip_id[-length:], row)
    return found


def _tail(voice: ListedVoice) -> str:
    number = voice.utterance[-5:]
    return "-".join(part for part in (voice.speaker, voice.programme, number) if part)
