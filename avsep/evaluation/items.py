"""A listed mixture with all that its evaluation needs: sound, references, each voice's video."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from avsep.evaluation.babble import BabbleVoices
from avsep.mixing.listed import render_listed
from avsep.schema import SAMPLES_PER_FRAME, Cues, MixtureRecipe, SourceRecipe
from avsep.shards.store import ShardStore


@dataclass(frozen=True, kw_only=True, eq=False)
class EvaluationItem:
    """One mixture of S voices, N samples and F frames.

    Attributes:
        recipe: the recipe that the mixture was rendered from.
        mixture: sound of the mixture, (N,) float32.
        sources: the references, as loud as they are in the mixture, (S, N) float32.
        cues: cues of each voice, F frames, without a batch axis.
        babble: other voices that talk at once, (N,) float64; None if no condition needs them.
    """

    recipe: MixtureRecipe
    mixture: np.ndarray
    sources: np.ndarray
    cues: tuple[Cues, ...]
    babble: np.ndarray | None = None


def build_item(
    store: ShardStore, recipe: MixtureRecipe, babble: BabbleVoices | None = None
) -> EvaluationItem:
    """Render a recipe and cut the matching video of each voice.

    Args:
        store: the shards that hold the samples.
        recipe: the recipe of the mixture.
        babble: where babble comes from; None if no condition needs it.

    Raises:
        ItemError: a sample is missing, has changed since the recipe was drawn, or is shorter than
            the window that the recipe names.
        CheckError: a shard is damaged, or no other voice can be used for babble.
    """
    rendered = render_listed(store, recipe)
    return EvaluationItem(
        recipe=recipe,
        mixture=np.asarray(rendered.mixture, np.float32),
        sources=np.asarray(rendered.sources, np.float32),
        cues=tuple(_cut_cues(store, source, recipe.num_samples) for source in recipe.sources),
        babble=babble.draw(recipe) if babble else None,
    )


def _cut_cues(store: ShardStore, source: SourceRecipe, num_samples: int) -> Cues:
    window = source.start // SAMPLES_PER_FRAME, num_samples // SAMPLES_PER_FRAME
    points, valid = store.landmark_window(source.key, *window)
    return Cues(
        lips=store.lips_window(source.key, *window),
        landmarks=points.astype(np.float32),
        valid=valid,
    )
