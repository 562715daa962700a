"""The mixtures of a list, rendered from the shards that the list was drawn from."""

from __future__ import annotations

from avsep.errors import ItemError, Reason
from avsep.mixing.render import Rendered, render
from avsep.schema import MixtureRecipe
from avsep.shards.store import ShardStore


def check_samples(store: ShardStore, recipe: MixtureRecipe) -> None:
    """Pass when the shards hold the samples that a recipe was drawn from.

    Args:
        store: the shards.
        recipe: a recipe of a list.

    Raises:
        ItemError: a sample is missing, or its sound has changed since the recipe was drawn.
    """
    for source in recipe.sources:
        if source.key not in store:
            raise ItemError(
                Reason.FILE_MISSING,
                f"the shards do not hold sample {source.key} of mixture {recipe.mixture_id}; run"
                " the stage `mix` again",
            )
        found = store.row(source.key).audio_sha256
        if source.sha256 and found and found != source.sha256:
            raise ItemError(
                Reason.FILE_CHANGED,
                f"mixture {recipe.mixture_id} was drawn from another {source.key} than the shards"
                " hold; run the stage `mix` again",
            )


def render_listed(store: ShardStore, recipe: MixtureRecipe) -> Rendered:
    """Check the samples of a recipe, then render it.

    Args:
        store: the shards.
        recipe: a recipe of a list.

    Raises:
        ItemError: a sample is missing, has changed or is shorter than the window that the recipe
            names, or the noise is missing or damaged.
        CheckError: a shard is damaged.
    """
    check_samples(store, recipe)
    try:
        return render(recipe, store.audio)
    except ValueError as error:
        raise ItemError(Reason.UNREADABLE, str(error)) from error
