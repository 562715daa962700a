"""What a separator is trained on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from avsep.loading.augment import AugmentConfig
from avsep.loading.cues import Store
from avsep.loading.mixtures import Cue, TrainMixtures
from avsep.mixing.training import TrainingDraw
from avsep.schema import MixtureRecipe
from avsep.training.config import RunSettings


@dataclass(frozen=True, kw_only=True, eq=False)
class Mixtures:
    """Where training and validation mixtures come from.

    Attributes:
        store: the samples.
        draw: gives training recipes of the wanted length.
        val: the validation list.
    """

    store: Store
    draw: TrainingDraw
    val: Sequence[MixtureRecipe]

    def items(
        self,
        run: RunSettings,
        augment: AugmentConfig,
        cues: Sequence[Cue],
        *,
        paired: bool,
        looks: int = 0,
    ) -> TrainMixtures:
        """The training items."""
        return TrainMixtures(
            self.store,
            self.draw,
            seed=run.seed,
            cues=cues,
            augment=augment,
            paired=paired,
            looks=looks,
        )
