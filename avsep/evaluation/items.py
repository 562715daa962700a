"""A listed mixture with everything an evaluation needs: sound, references, video of each voice."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from avsep.errors import ItemError, Reason
from avsep.schema import SAMPLES_PER_FRAME, Cues, Landmarks, MixtureRecipe, SourceRecipe

if TYPE_CHECKING:
    from collections.abc import Sequence


class IndexEntry(Protocol):
    """What is asked of an index row of a store."""

    @property
    def key(self) -> str:
        """Of the sample."""

    @property
    def group(self) -> str:
        """Base voice, programme or the like."""

    @property
    def split(self) -> str:
        """`train`, `val` or `test`."""

    @property
    def audio_sha256(self) -> str:
        """Of its sound."""


class Store(Protocol):
    """What is asked of `avsep.shards.reader.ShardStore`."""

    @property
    def index(self) -> Sequence[IndexEntry]:
        """One row a sample."""

    def audio(self, key: str) -> np.ndarray:
        """(640 T,) int16."""

    def lips(self, key: str) -> np.ndarray:
        """(T, 96, 96) uint8."""

    def landmarks(self, key: str) -> Landmarks:
        """T frames."""

    def meta(self, key: str) -> dict[str, Any]:
        """The JSON member."""


@dataclass(frozen=True, kw_only=True, eq=False)
class EvaluationItem:
    """One mixture of S voices, N samples, F frames.

    Attributes:
        recipe: what it was made from.
        mixture: (N,) float32.
        sources: (S, N) float32, the references, as loud as they are in the mixture.
        cues: of each voice, without batch axis.
    """

    recipe: MixtureRecipe
    mixture: np.ndarray
    sources: np.ndarray
    cues: tuple[Cues, ...]


def build_item(store: Store, sha256_of: dict[str, str], recipe: MixtureRecipe) -> EvaluationItem:
    """Render a recipe and cut the matching video of each voice.

    Args:
        store: random access to the shards.
        sha256_of: sha256 of the audio member by sample key, from the store's index.
        recipe: the mixture.

    Raises:
        ItemError: a sample is missing, is not the one that the recipe was drawn from, or has not
            the window that the recipe names.
        CheckError: a shard is damaged.
    """
    from avsep.mixing.render import render

    for source in recipe.sources:
        found = sha256_of.get(source.key)
        if found is None:
            raise ItemError(
                Reason.FILE_MISSING, f"the shards have no sample {source.key}; run `mix` again"
            )
        if source.sha256 and found and found != source.sha256:
            raise ItemError(
                Reason.FILE_CHANGED,
                f"the sound of {source.key} is not the one the mixture was drawn from;"
                " run `mix` again",
            )
    try:
        rendered = render(recipe, store.audio)
    except ValueError as error:
        raise ItemError(Reason.UNREADABLE, str(error)) from error
    return EvaluationItem(
        recipe=recipe,
        mixture=np.asarray(rendered.mixture, np.float32),
        sources=np.asarray(rendered.sources, np.float32),
        cues=tuple(_cut_cues(store, source, recipe.num_samples) for source in recipe.sources),
    )


def _cut_cues(store: Store, source: SourceRecipe, num_samples: int) -> Cues:
    first = source.start // SAMPLES_PER_FRAME
    num_frames = num_samples // SAMPLES_PER_FRAME
    span = slice(first, first + num_frames)
    landmarks = store.landmarks(source.key)
    cues = Cues(
        lips=np.asarray(store.lips(source.key)[span]),
        landmarks=np.asarray(landmarks.points[span], np.float32),
        valid=np.asarray(landmarks.valid[span]),
    )
    if not len(cues.lips) == len(cues.landmarks) == num_frames:
        raise ItemError(
            Reason.UNREADABLE,
            f"{source.key} has {len(cues.lips)} lip frames and {len(cues.landmarks)} landmark"
            f" frames from frame {first} on, not {num_frames}",
        )
    return cues
