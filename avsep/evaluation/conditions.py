"""What the model sees and hears: whose video, and what has been damaged.

A model that ignores the video scores the same under all three. A model that uses it scores far
lower with the other speaker's video, since it then extracts the wrong voice. Further conditions
damage the wanted speaker's video, or the sound.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import TYPE_CHECKING

import numpy as np

from avsep.damage import SOUND, generator_of, parse_damage
from avsep.schema import MISSING, Cues
from avsep.sound_damage import damage_sound
from avsep.visual_damage import damage_video

if TYPE_CHECKING:
    from avsep.evaluation.items import EvaluationItem


class Condition(StrEnum):
    """Whose video the model sees."""

    OWN = "own"
    OTHER = "other"
    NONE = "none"

    @property
    def label(self) -> str:
        """The condition in words, for tables and charts."""
        return {
            Condition.OWN: "own video",
            Condition.OTHER: "other speaker's video",
            Condition.NONE: "no video (frozen frame)",
        }[self]


def frozen(cues: Cues) -> Cues:
    """The same cues with one frame repeated: a face that does not move.

    The repeated frame is the first one with landmarks: a frame without landmarks is all zeros,
    which a model could tell from a still face.

    Args:
        cues: cues of one voice, without a batch axis.
    """
    valid = np.asarray(cues.valid)
    seen = np.flatnonzero(valid != MISSING)
    first = int(seen[0]) if len(seen) else 0
    index = np.full(len(valid), first)
    return Cues(
        lips=np.asarray(cues.lips)[index],
        landmarks=np.asarray(cues.landmarks)[index],
        valid=valid[index],
    )


def damaged(cues: Cues, name: str, *drawn_by: str) -> Cues:
    """The same cues, damaged.

    Args:
        cues: cues of one voice, without a batch axis.
        name: a damage to the video with its severity, such as `covered@0.5`.
        drawn_by: names that decide where the damage is.
    """
    kind, severity = parse_damage(name)
    lips, landmarks, valid = damage_video(
        np.asarray(cues.lips),
        np.asarray(cues.landmarks),
        np.asarray(cues.valid),
        kind,
        severity,
        generator_of(kind, *drawn_by),
    )
    return Cues(lips=lips, landmarks=landmarks, valid=valid)


def condition_cues(cues: Sequence[Cues], target: int, condition: str, mixture_id: str = "") -> Cues:
    """The cues to show when voice `target` is wanted.

    Args:
        cues: cues of each voice of the mixture, without a batch axis.
        target: index of the wanted voice.
        condition: whose video to show; with more than two voices, `other` is the next voice. A
            damage shows the own video, damaged if it is one of the video.
        mixture_id: decides, with the voice and the kind of a damage, where the damage is.

    Raises:
        ValueError: the condition is `other` and there is only one voice.
    """
    if condition == Condition.OWN or changes_sound(condition):
        return cues[target]
    if condition == Condition.NONE:
        return frozen(cues[target])
    if condition != Condition.OTHER:
        return damaged(cues[target], condition, mixture_id, str(target))
    if len(cues) < 2:
        raise ValueError("the other speaker's video needs a mixture of at least two voices.")
    return cues[(target + 1) % len(cues)]


def changes_sound(condition: str) -> bool:
    """Whether the mixture of a condition differs from the listed one."""
    return condition not in set(Condition) and parse_damage(condition)[0] in SOUND


def condition_sound(
    item: EvaluationItem, target: int, condition: str
) -> tuple[np.ndarray, np.ndarray]:
    """The mixture to give when voice `target` is wanted, (N,), and the references, (S, N).

    The mixture's id and the kind of a damage decide what is drawn: all voices are in one
    room, and keep their places at every severity.

    Args:
        item: the mixture.
        target: index of the wanted voice.
        condition: a damage to the sound; under any other, the mixture is as listed.
    """
    if not changes_sound(condition):
        return item.mixture, item.sources
    kind, severity = parse_damage(condition)
    return damage_sound(
        item.sources,
        kind,
        severity,
        generator_of(kind, item.recipe.mixture_id),
        rest=item.mixture - item.sources.sum(axis=0),
        voice=target,
        babble=item.babble,
    )
