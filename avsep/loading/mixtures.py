"""Mixtures as training and validation items: the sound of two voices, the video of the wanted one.

An item is a pure function of its number: no state, no worker seeds, so any number of workers, any
number of ranks and any interruption give the same items.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np
import torch
from torch.utils.data import Dataset

from avsep.errors import CheckError, ItemError
from avsep.loading.augment import (
    crop_lips,
    damage_landmarks,
    damage_voices,
    jitter_landmarks,
    level_factor,
    random_eq,
    reshape_face,
    shift_positions,
    vocal_tract_perturbation,
)
from avsep.loading.config import AugmentConfig
from avsep.loading.cues import cut_landmarks, cut_lips
from avsep.loading.speed import NORMAL, SpeedPerturbation, frame_positions
from avsep.loading.streaming import StreamDraw
from avsep.mixing.listed import check_samples
from avsep.mixing.render import render_windows
from avsep.mixing.training import TrainingDraw
from avsep.schema import SAMPLES_PER_FRAME, MixtureRecipe
from avsep.shards.store import ShardStore
from avsep.sound_damage import BABBLE_VOICES

Cue = Literal["lips", "landmarks"]
Item = dict[str, Any]
Draw = Callable[[int], MixtureRecipe]
"""The recipe for a number; the same number always gives the same recipe."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Mixtures:
    """What a separator is trained and validated on.

    Attributes:
        store: the samples.
        draw: gives training recipes of the wanted length.
        val: the validation list.
    """

    store: ShardStore
    draw: TrainingDraw | StreamDraw
    val: Sequence[MixtureRecipe]


class TrainMixtures(Dataset[Item]):
    """Training items, drawn and mixed on the fly; endless.

    An item is a dict: `item` is its number; `mixture`, `target` and `other` (N,) float32 are the
    sounds at the levels of the mixture, and add up to it unless its sound was damaged; `key` is the
    target's sample, `positions` (F,) float32 are the positions of the item's frames in it, and
    `view` is the number of a view of the clip. With the cue `lips`: `lips` (F, 88, 88) uint8, cut
    and maybe mirrored and lit; with `landmarks`: `landmarks` (F, 68, 3) float32 and `valid` (F,)
    uint8. N = 640 F.

    Attributes:
        items_per_epoch: number of items in an epoch of a set that is read in sequence, see
            `avsep.loading.streaming`; 0 for mixtures of a whole set, which know no epoch.
    """

    def __init__(
        self,
        store: ShardStore,
        draw: Draw,
        *,
        seed: int,
        cues: Sequence[Cue],
        augment: AugmentConfig | None = None,
        paired: bool = True,
        views: int = 0,
    ) -> None:
        """Prepare items.

        Args:
            store: the samples.
            draw: gives the recipe for a number.
            seed: seed of the augmentation.
            cues: the cues that the model sees.
            augment: how items are changed; None leaves them as they are.
            paired: item 2 i has the first voice of recipe i as target and 2 i + 1 the second, so
                that a batch shows what difference the video makes; else item i has the first voice
                of recipe i.
            views: how many views of each clip there are besides the stored one, see
                `avsep.models.dolphin.lip_features.LipFeatureCache`.
        """
        self._store, self._draw = store, draw
        self._seed, self._cues = seed, tuple(cues)
        self._augment = augment or AugmentConfig()
        self._speeds = SpeedPerturbation(store, self._augment.speed, seed)
        self._paired, self._views = paired, views
        self.items_per_epoch = getattr(draw, "per_epoch", 0) * (2 if paired else 1)
        # The mixture made last: the two items of a pair mostly follow each other.
        self._mixed: tuple[int, Any] = (-1, None)

    def __getitem__(self, number: int) -> Item:
        mixture, target = divmod(number, 2) if self._paired else (number, 0)
        if mixture != self._mixed[0]:
            self._mixed = mixture, self._mix(mixture)
        recipe, speeds, mixture, voices = self._mixed[1]
        return {
            "item": number,
            **_sound(mixture, voices, target),
            **self._video(recipe, target, speeds[target], number),
        }

    def _mix(self, number: int) -> tuple[MixtureRecipe, list[int], np.ndarray, np.ndarray]:
        """What both items of a mixture share: recipe, speeds, mixture and voices, by its number."""
        recipe, speeds = self._speeds.change(self._draw(number), number)
        windows = [
            self._speeds.window(source.key, speed, source.start, recipe.num_samples)
            for source, speed in zip(recipe.sources, speeds, strict=True)
        ]
        sources = render_windows(recipe, windows).sources
        rng = [np.random.default_rng([self._seed, number, use]) for use in (1, 3, 4, 5)]
        factor = level_factor(self._augment, rng[0])
        voices = [vocal_tract_perturbation(voice, self._augment, rng[2]) for voice in sources]
        coloured = [random_eq(voice, self._augment, rng[1]) for voice in voices]
        loud = np.stack([factor * voice for voice in coloured])
        mixture, heard = damage_voices(
            loud, partial(self._neighbours, number, recipe), self._augment, rng[3]
        )
        return recipe, speeds, mixture, heard

    def _neighbours(self, number: int, recipe: MixtureRecipe) -> list[np.ndarray]:
        """Voices of other speakers: those of the next mixtures, whose shards are at hand."""
        speakers = {source.speaker for source in recipe.sources}
        groups = {source.group for source in recipe.sources}
        others = [
            source
            for after in range(1, BABBLE_VOICES + 1)
            for source in self._draw(number + after).sources
            if source.speaker not in speakers and source.group not in groups
        ]
        return [
            self._store.audio_window(source.key, source.start, recipe.num_samples)
            for source in others[:BABBLE_VOICES]
        ]

    def _video(self, recipe: MixtureRecipe, target: int, speed: int, number: int) -> Item:
        rng = np.random.default_rng([self._seed, number])
        source, augment = recipe.sources[target], self._augment
        num_frames = recipe.num_samples // SAMPLES_PER_FRAME
        positions = frame_positions(source.start // SAMPLES_PER_FRAME, num_frames, speed)
        view = 1 + int(rng.integers(self._views)) if self._views else 0
        item: Item = {"key": source.key, "positions": positions, "view": view}
        if "lips" in self._cues:
            item["lips"] = crop_lips(cut_lips(self._store, source.key, positions), augment, rng)
        if "landmarks" in self._cues:
            last = self._store.num_frames(source.key) - 1
            moved = shift_positions(positions, last, augment, rng)
            points, valid = cut_landmarks(self._store, source.key, moved)
            points = jitter_landmarks(reshape_face(points, augment, rng), augment, rng)
            item["landmarks"], item["valid"] = damage_landmarks(points, valid, augment, rng)
        return item


class ListedMixtures(Dataset[Item]):
    """A fixed list of mixtures: item 2 i + v has voice v of recipe i as target; nothing changed.

    Items are as in `TrainMixtures`, but `lips` is as stored, (F, 96, 96).
    """

    def __init__(
        self, store: ShardStore, recipes: Sequence[MixtureRecipe], *, cues: Sequence[Cue]
    ) -> None:
        """Check the list against the store.

        Raises:
            CheckError: a sample is missing or has changed since the list was drawn.
        """
        self._store, self._cues = store, tuple(cues)
        self._recipes = list(recipes)
        self._items = [
            (i, v) for i, recipe in enumerate(recipes) for v in range(len(recipe.sources))
        ]
        for recipe in self._recipes:
            try:
                check_samples(store, recipe)
            except ItemError as error:
                raise CheckError(error.message) from error

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, number: int) -> Item:
        index, target = self._items[number]
        recipe = self._recipes[index]
        source = recipe.sources[target]
        positions = frame_positions(
            source.start // SAMPLES_PER_FRAME, recipe.num_samples // SAMPLES_PER_FRAME, NORMAL
        )
        item: Item = {"item": number, "key": source.key, "positions": positions, "view": 0}
        rendered = render_windows(
            recipe,
            [self._store.audio_window(s.key, s.start, recipe.num_samples) for s in recipe.sources],
        )
        item |= _sound(rendered.mixture, rendered.sources, target)
        if "lips" in self._cues:
            item["lips"] = cut_lips(self._store, source.key, positions)
        if "landmarks" in self._cues:
            item["landmarks"], item["valid"] = cut_landmarks(self._store, source.key, positions)
        return item


def collate(items: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Stack items into a batch: arrays to tensors, numbers to a tensor, texts to a list.

    Raises:
        ValueError: items of unequal length.
    """
    batch: dict[str, Any] = {}
    for name, first in items[0].items():
        values = [item[name] for item in items]
        if isinstance(first, np.ndarray):
            if len({value.shape for value in values}) > 1:
                raise ValueError(f"the {name} of a batch have unequal lengths.")
            batch[name] = torch.from_numpy(np.stack(values))
        elif isinstance(first, int):
            batch[name] = torch.tensor(values)
        else:
            batch[name] = values
    return batch


def _sound(mixture: np.ndarray, voices: np.ndarray, target: int) -> Item:
    return {
        "mixture": mixture,
        "target": np.array(voices[target]),
        "other": np.sum(np.delete(voices, target, axis=0), axis=0, dtype=np.float32),
    }
