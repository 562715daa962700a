"""What a separator is trained on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.loading.augment import AugmentConfig
from pipeline.loading.cues import Store
from pipeline.loading.mixtures import Cue, TrainMixtures
from pipeline.mixing.training import TrainingDraw
from pipeline.schema import MixtureRecipe
from pipeline.training.settings import RunSettings


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
