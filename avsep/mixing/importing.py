"""Published lists as recipes over our own samples: the same mixtures as in the papers."""

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

# Of ids of clips: `<video>-<5>`, with `id<5>-` before it for VoxCeleb2.
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
        path: `.scp` of the CTCNet family, or `.csv` of MuSE (then its mixtures of this split),
            each maybe with `.gz`.
        rows: of the index; all of them may be meant, whatever their split.
        get_audio: gives the sound of a sample key, (samples,) int16 at 16 kHz.
        split: `val` or `test`.
        num_samples: length of a mixture; MuSE's in test are as long as their shorter voice.
        max_missing_share: of mixtures whose utterances are not among the samples.

    Raises:
        CheckError: too many mixtures cannot be made of the samples; names one.
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
            f"{len(missing)} of {len(listed)} mixtures of {path.name} cannot be made of the shards,"
            f" e.g. for want of {missing[0]} at full length; bring its corpus in, or raise"
            " mix.max_missing_share."
        )
    return list(recipes.values())


def _offsets(mixture: ListedMixture) -> list[float]:
    return [voice.level_db for voice in mixture.voices]


def _by_tail(rows: Sequence[IndexRow]) -> Mapping[str, IndexRow]:
    """Samples by the end of their clips' ids; of several faces of a clip the first."""
    found: dict[str, IndexRow] = {}
    for row in sorted(rows, key=lambda row: row.key):
        for length in _TAILS:
            if len(row.clip_id) >= length:
                found.setdefault(row.clip_id[-length:], row)
    return found


def _tail(voice: ListedVoice) -> str:
    number = voice.utterance[-5:]
    return "-".join(part for part in (voice.speaker, voice.programme, number) if part)
