"""What a protocol of mixing must be able to do: for lists, and for training without end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from avsep.mixing.hash_random import HashRandom
from avsep.mixing.render import GetAudio
from avsep.mixing.voices import Voice, VoiceTable
from avsep.schema import MixtureRecipe

Window = tuple[Voice, int]
"""A voice and the frame where its window starts."""


@dataclass(frozen=True, kw_only=True)
class ListSpec:
    """Where a recipe will stand.

    Attributes:
        split: `train`, `val` or `test`; part of the ids of lists.
        seed: of the list or the training.
        num_samples: length of its mixtures at 16 kHz.
    """

    split: str
    seed: int
    num_samples: int


class MixingProtocol(Protocol):
    """How mixtures are drawn."""

    @property
    def name(self) -> str:
        """Of the protocol, as it stands in the recipes."""
        ...

    @property
    def version(self) -> int:
        """Raised when the same seed gives other mixtures."""
        ...

    def windows(self, table: VoiceTable, random: HashRandom) -> tuple[Window, ...]:
        """The voices of a mixture, and the frames where it starts in them.

        Raises:
            ValueError: no voices of the table may be mixed.
        """
        ...

    def recipe(
        self, windows: Sequence[Window], get_audio: GetAudio, random: HashRandom, spec: ListSpec
    ) -> MixtureRecipe | None:
        """The recipe of a list, with measured levels; None when a window has no level."""
        ...

    def training(
        self, table: VoiceTable, get_audio: GetAudio, *, seed: int, epoch: int, index: int
    ) -> MixtureRecipe:
        """A training mixture: the same (seed, epoch, index) gives the same recipe, for ever.

        Raises:
            ValueError: no voices of the table may be mixed.
        """
        ...


def training_id(seed: int, epoch: int, index: int) -> str:
    """The id of a training mixture."""
    return f"train-{seed}-{epoch}-{index}"
