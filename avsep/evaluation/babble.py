"""Voices that talk at once behind a mixture: those of other speakers of the same split."""

from __future__ import annotations

import numpy as np

from avsep.damage import generator_of
from avsep.errors import CheckError
from avsep.schema import MixtureRecipe
from avsep.shards.store import ShardStore
from avsep.sound_damage import BABBLE_VOICES, babble_of


class BabbleVoices:
    """The samples of one voice of a split, for babble behind its mixtures."""

    def __init__(self, store: ShardStore, split: str) -> None:
        self._store, self._split = store, split
        codes, names = store.index.codes("split")
        of_split = codes == names.index(split) if split in names else np.zeros(len(codes), bool)
        self._rows = np.flatnonzero(of_split & ~store.index.column("multi_voice"))

    def draw(self, recipe: MixtureRecipe) -> np.ndarray:
        """The sum of up to six voices, (N,) float64; the mixture's id decides which.

        No one of its speakers, and no one of their groups, is in the mixture.

        Raises:
            CheckError: the split has no other speakers, or only silent ones; or a shard is damaged.
        """
        rng = generator_of("babble voices", recipe.mixture_id)
        rows = self._rows[self._elsewhere("speaker", recipe) & self._elsewhere("group", recipe)]
        speakers = self._store.index.codes("speaker")[0]
        voices: dict[int, np.ndarray] = {}
        for row in rng.permutation(rows).tolist():
            if len(voices) == BABBLE_VOICES:
                break
            if speakers[row] in voices:
                continue
            sound = self._store.audio(self._store.index.text("key", row))
            start = int(rng.integers(max(1, len(sound) - recipe.num_samples + 1)))
            window = np.resize(sound[start:], recipe.num_samples)  # a short one is repeated
            if window.any():
                voices[speakers[row]] = window
        if not voices:
            raise CheckError(
                f"{recipe.mixture_id} cannot have babble: the {self._split} split has no other"
                " speakers than those of the mixture. Leave babble out of evaluate.conditions."
            )
        return babble_of(list(voices.values()))

    def _elsewhere(self, column: str, recipe: MixtureRecipe) -> np.ndarray:
        codes, names = self._store.index.codes(column)
        here = {getattr(source, column) for source in recipe.sources}
        return ~np.isin(
            codes[self._rows], [code for code, name in enumerate(names) if name in here]
        )
