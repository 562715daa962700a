"""What a mixing protocol does: it draws recipes for lists, and for training without end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from avsep.mixing.hash_random import HashRandom
from avsep.mixing.render import GetAudio
from avsep.mixing.voices import Voice, VoiceTable
from avsep.schema import MixtureRecipe

Window = tuple[Voice, int]
"""A voice, and the frame at which its window starts."""


@dataclass(frozen=True, kw_only=True)
class ListSpec:
    """The list, or the training, that a recipe is drawn for.

    Attributes:
        split: `train`, `val` or `test`; part of the recipe's id.
        seed: seed of the list or the training.
        num_samples: length of the mixtures at 16 kHz.
    """

    split: str
    seed: int
    num_samples: int


class MixingProtocol(Protocol):
    """How mixtures are drawn."""

    @property
    def name(self) -> str:
        """Name of the protocol, as in the recipes."""
        ...

    @property
    def version(self) -> int:
        """Version; it rises when the same seed gives other mixtures."""
        ...

    def windows(self, table: VoiceTable, random: HashRandom) -> tuple[Window, ...]:
        """Draw the voices of a mixture, and the frames at which their windows start.

        Raises:
            ValueError: the table has no voices that may be mixed.
        """
        ...

    def recipe(
        self, windows: Sequence[Window], get_audio: GetAudio, random: HashRandom, spec: ListSpec
    ) -> MixtureRecipe | None:
        """The recipe for a list, with measured levels; None if a window has no level."""
        ...

    def training(
        self, table: VoiceTable, get_audio: GetAudio, *, seed: int, epoch: int, index: int
    ) -> MixtureRecipe:
        """A training mixture; the same (seed, epoch, index) always gives the same recipe.

        Raises:
            ValueError: the table has no voices that may be mixed.
        """
        ...


def training_id(seed: int, epoch: int, index: int) -> str:
    """The id of a training mixture."""
    return f"train-{seed}-{epoch}-{index}"
