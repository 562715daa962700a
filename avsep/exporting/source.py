"""What exporters read: the samples of a set, and rendered mixtures with their voices."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from avsep.errors import CheckError, ItemError, UsageError
from avsep.mixing.listed import render_listed
from avsep.mixing.recipes import read_recipes
from avsep.mixing.training import TRAINING_FILE, read_training
from avsep.schema import SAMPLES_PER_FRAME, SPLITS, MixtureRecipe, SourceRecipe
from avsep.shards.index import IndexRow
from avsep.shards.lips import encode_mp4
from avsep.shards.store import ShardStore

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

FULL_SCALE = 32768.0


@dataclass(frozen=True, kw_only=True, eq=False)
class MixedVoice:
    """One voice of a mixture, cut to its window: N samples, F frames.

    Attributes:
        name: name of the window: the sample's key, and the first frame if that is not 0.
        recipe: recipe of the voice.
        sound: (N,) int16, as in the shards.
        mixed: (N,) int16, as in the mixture.
        lips: (F, 96, 96) uint8.
    """

    name: str
    recipe: SourceRecipe
    sound: NDArray[np.int16]
    mixed: NDArray[np.int16]
    lips: NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True, eq=False)
class Mixture:
    """A rendered mixture.

    Attributes:
        recipe: recipe of the mixture.
        split: `train`, `val` or `test`.
        sound: (N,) int16, exactly the sum of the voices and the noise.
        voices: voices in the order of the recipe.
    """

    recipe: MixtureRecipe
    split: str
    sound: NDArray[np.int16]
    voices: tuple[MixedVoice, ...]


@dataclass(frozen=True, kw_only=True)
class ExportSource:
    """A set of shards and, for formats that hold mixtures, its lists.

    Attributes:
        store: store of the set.
        mixtures: folder of the lists, or None.
        train_mixtures: number of training mixtures to draw, since training has no list.
        splits: splits to export.
    """

    store: ShardStore
    mixtures: Path | None = None
    train_mixtures: int = 0
    splits: tuple[str, ...] = SPLITS

    def rows(self, split: str) -> list[IndexRow]:
        """The samples of a split, by key."""
        rows = (row for row in self.store.index if row.split == split)
        return sorted(rows, key=lambda row: row.key)

    def mp4(self, key: str) -> bytes:
        """The mouth crops of a sample as grey full-range H.264."""
        if self.store.manifest.storage == "compact":
            return self.store.raw(key, "lips.mp4")
        return encode_mp4(self.store.lips(key))

    def recipes(self, split: str) -> list[MixtureRecipe]:
        """The recipes of a split.

        Raises:
            CheckError: there are no lists, or they are damaged.
        """
        if self.mixtures is None:
            raise CheckError("there are no mixtures to export; run the stage `mix` first.")
        if split != "train":
            return read_recipes(self.mixtures / f"{split}.jsonl")
        if not self.train_mixtures:
            return []
        draw = read_training(self.mixtures / TRAINING_FILE, self.store.audio)
        return [draw.draw(0, index) for index in range(self.train_mixtures)]

    def mixed(self, split: str) -> Iterator[Mixture]:
        """Render the mixtures of a split, one at a time.

        Raises:
            CheckError: the shards have changed since the mixtures were drawn.
        """
        for recipe in self.recipes(split):
            try:
                rendered = render_listed(self.store, recipe)
            except ItemError as error:
                raise CheckError(error.message) from error
            sources = (rendered.sources * FULL_SCALE).astype("<i2")
            yield Mixture(
                recipe=recipe,
                split=split,
                # Not rounded a second time, so that the sum stays exact in 16 bits.
                sound=(rendered.mixture * FULL_SCALE).astype("<i2"),
                voices=tuple(
                    self._voice(source, recipe.num_samples, mixed)
                    for source, mixed in zip(recipe.sources, sources, strict=True)
                ),
            )

    def _voice(
        self, source: SourceRecipe, num_samples: int, mixed: NDArray[np.int16]
    ) -> MixedVoice:
        first = source.start // SAMPLES_PER_FRAME
        frames = math.ceil(num_samples / SAMPLES_PER_FRAME)
        return MixedVoice(
            name=f"{source.key}-f{first}" if first else source.key,
            recipe=source,
            sound=self.store.audio(source.key)[source.start : source.start + num_samples],
            mixed=mixed,
            lips=self.store.lips(source.key)[first : first + frames],
        )


def check_two_voices(mixture: Mixture, reader: str) -> None:
    """Pass when a mixture has two voices.

    Raises:
        UsageError: the mixture has another number of voices.
    """
    if len(mixture.voices) != 2:
        raise UsageError(
            f"{reader} reads mixtures of two voices; {mixture.recipe.mixture_id} has"
            f" {len(mixture.voices)}."
        )
