"""The protocol `strict-2mix`, and the drawing of lists by any protocol.

A mixture of `strict-2mix` has two samples of different speakers and different groups. Speakers are
drawn first, so that a speaker with many clips is not heard more often. Windows start on video
frames, and enough of their frames hold speech. The levels of the voices differ by a uniform -5 to
5 dB of active level (ITU-T P.56) and keep their mean, so that mixtures are as loud as the
recordings. A joint factor is applied only if the peak would exceed 0.99 of full scale.

Lists for validation and test measure the level of each window. Training draws by (seed, epoch,
index) from a small table without opening any sound, and uses the level of the whole sample. The
protocols of other papers are in `published_protocols`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from avsep.media.level import active_level_dbfs
from avsep.mixing.hash_random import HashRandom
from avsep.mixing.protocol import ListSpec, MixingProtocol, Window, training_id
from avsep.mixing.recipes import MAX_GAIN_DB, content_id
from avsep.mixing.render import GetAudio, joint_scale, linear_gain
from avsep.mixing.voices import LEVEL_DIGITS, Voice, VoiceTable
from avsep.schema import RATE_HZ, SAMPLES_PER_FRAME, MixtureRecipe, SourceRecipe

STRICT_2MIX = "strict-2mix"
VERSION = 1
MAX_RELATIVE_DB = 5.0

_PAIR_TRIES = 10_000
_LIST_TRIES = 400
_NEW_PAIR_TRIES = 200  # the first of these refuse a pair of samples that was drawn already


def draw_training(table: VoiceTable, seed: int, epoch: int, index: int) -> MixtureRecipe:
    """Draw a training mixture; the same (seed, epoch, index) always gives the same recipe.

    It takes well below a millisecond. The scale of the recipe is 1.0; `render` finds the joint
    factor.

    Raises:
        ValueError: the table has no two voices that may be mixed.
    """
    random = HashRandom(STRICT_2MIX, VERSION, seed, "train", epoch, index)
    windows = _windows(table, random)
    return _recipe(
        windows,
        levels_db=[voice.level_dbfs for voice, _ in windows],
        relative_db=_relative_db(random),
        seed=seed,
        num_samples=table.num_samples,
        mixture_id=training_id(seed, epoch, index),
    )


class _Strict:
    """`strict-2mix` as a `MixingProtocol`."""

    name, version = STRICT_2MIX, VERSION

    def windows(self, table: VoiceTable, random: HashRandom) -> tuple[Window, ...]:
        """Draw two windows that may be mixed."""
        return _windows(table, random)

    def recipe(
        self, windows: Sequence[Window], get_audio: GetAudio, random: HashRandom, spec: ListSpec
    ) -> MixtureRecipe | None:
        """The recipe with measured levels; None if a window has no level."""
        return _listed(windows, get_audio, random, spec)

    def training(
        self, table: VoiceTable, get_audio: GetAudio, *, seed: int, epoch: int, index: int
    ) -> MixtureRecipe:
        """A training mixture, from the table alone."""
        return draw_training(table, seed, epoch, index)


STRICT: MixingProtocol = _Strict()


def draw_list(
    table: VoiceTable,
    get_audio: GetAudio,
    *,
    split: str,
    seed: int,
    count: int,
    protocol: MixingProtocol = STRICT,
) -> list[MixtureRecipe]:
    """Draw a fixed list of mixtures, each with the levels of its windows and its joint scale.

    No two mixtures of a list are the same, and a set of samples is used again only if no new one
    is found. A longer list begins with the shorter one.

    Args:
        table: voices of the split.
        get_audio: gives the sound of a sample key, (samples,) int16 at 16 kHz.
        split: `val` or `test`; part of the ids and of the randomness.
        seed: seed of the list.
        count: number of mixtures.
        protocol: how a mixture is drawn.

    Raises:
        ValueError: the voices do not give so many different mixtures.
    """
    spec = ListSpec(split=split, seed=seed, num_samples=table.num_samples)
    recipes: list[MixtureRecipe] = []
    ids: set[str] = set()
    pairs: set[frozenset[str]] = set()
    for index in range(count):
        for attempt in range(_LIST_TRIES):
            random = HashRandom(protocol.name, protocol.version, seed, split, index, attempt)
            windows = protocol.windows(table, random)
            pair = frozenset(voice.key for voice, _ in windows)
            if pair in pairs and attempt < _NEW_PAIR_TRIES:
                continue
            recipe = protocol.recipe(windows, get_audio, random, spec)
            if recipe is not None and recipe.mixture_id not in ids:
                break
        else:
            raise ValueError(
                f"the voices of {split} give only {index} of {count} different mixtures; ask for"
                " fewer or lower min_activity."
            )
        recipes.append(recipe)
        ids.add(recipe.mixture_id)
        pairs.add(pair)
    return recipes


def relative_db(recipe: MixtureRecipe) -> float:
    """How much louder the first voice of a recipe is than the second, in dB of active level."""
    first, second = (source.level_db + source.gain_db for source in recipe.sources[:2])
    return first - second


def _listed(
    windows: Sequence[Window], get_audio: GetAudio, random: HashRandom, spec: ListSpec
) -> MixtureRecipe | None:
    """A recipe with measured levels and scale; None if a window has no level."""
    sounds = [
        get_audio(voice.key)[start * SAMPLES_PER_FRAME :][: spec.num_samples]
        for voice, start in windows
    ]
    levels_db = [round(active_level_dbfs(sound, RATE_HZ), LEVEL_DIGITS) for sound in sounds]
    relative = _relative_db(random)
    if not all(math.isfinite(level) for level in levels_db):
        return None
    recipe = _recipe(
        windows,
        levels_db=levels_db,
        relative_db=relative,
        seed=spec.seed,
        num_samples=spec.num_samples,
        mixture_id="",
    )
    scaled = _scaled(recipe, sounds)
    return None if scaled is None else replace(scaled, mixture_id=content_id(spec.split, scaled))


def level_recipe(
    windows: Sequence[Window],
    sounds: Sequence[np.ndarray],
    levels_db: Sequence[float],
    gains_db: Sequence[float],
    *,
    protocol: str,
    num_samples: int,
) -> MixtureRecipe | None:
    """A recipe with given gains and the joint scale that its peak needs; None for extreme gains.

    Args:
        windows: voices, and the frames at which their windows start.
        sounds: sound of each window, (N,) int16.
        levels_db: level of each voice, as the protocol measures it.
        gains_db: gain of each voice.
        protocol: name of the protocol.
        num_samples: N.
    """
    made = recipe_of(windows, levels_db, gains_db, protocol=protocol, num_samples=num_samples)
    return None if made is None else _scaled(made, sounds)


def recipe_of(
    windows: Sequence[Window],
    levels_db: Sequence[float],
    gains_db: Sequence[float],
    *,
    protocol: str,
    num_samples: int,
) -> MixtureRecipe | None:
    """A recipe with given gains, without seed and id; None for gains beyond `MAX_GAIN_DB`."""
    if any(abs(gain) > MAX_GAIN_DB for gain in gains_db):
        return None
    return MixtureRecipe(
        mixture_id="",
        protocol=protocol,
        version=VERSION,
        seed=0,
        num_samples=num_samples,
        scale=1.0,
        sources=tuple(
            _source(window, level, gain)
            for window, level, gain in zip(windows, levels_db, gains_db, strict=True)
        ),
    )


def _scaled(recipe: MixtureRecipe, sounds: Sequence[np.ndarray]) -> MixtureRecipe | None:
    if any(abs(source.gain_db) > MAX_GAIN_DB for source in recipe.sources):
        return None
    gains = [linear_gain(source.gain_db) for source in recipe.sources]
    return replace(recipe, scale=joint_scale([sound.astype(float) for sound in sounds], gains))


def _windows(table: VoiceTable, random: HashRandom) -> tuple[Window, Window]:
    """Draw two windows that may be mixed, uniform over ordered pairs of speakers."""
    if not table.has_pairs:
        raise ValueError(
            "no two voices of the split differ in both speaker and group; add speakers."
        )
    for _ in range(_PAIR_TRIES):
        one, other = draw_voice(table, random), draw_voice(table, random)
        if one.speaker != other.speaker and one.group != other.group:
            return draw_window(table, one, random), draw_window(table, other, random)
    raise ValueError("hardly any two voices of the split may be mixed; add speakers.")


def draw_voice(table: VoiceTable, random: HashRandom) -> Voice:
    """Draw a speaker, then one of their voices, so that many samples do not favour a speaker."""
    voices = table.voices_of(table.speakers[random.below(len(table.speakers))])
    return voices[random.below(len(voices))]


def draw_window(table: VoiceTable, voice: Voice, random: HashRandom) -> Window:
    """Draw a window of a voice that has enough speech."""
    starts = table.starts(voice)
    return voice, int(starts[random.below(len(starts))])


def _relative_db(random: HashRandom) -> float:
    return MAX_RELATIVE_DB * (2 * random.uniform() - 1)


def _recipe(
    windows: Sequence[Window],
    *,
    levels_db: Sequence[float],
    relative_db: float,
    seed: int,
    num_samples: int,
    mixture_id: str,
) -> MixtureRecipe:
    mean_db = sum(levels_db) / len(levels_db)
    wanted_db = (mean_db + relative_db / 2, mean_db - relative_db / 2)
    return MixtureRecipe(
        mixture_id=mixture_id,
        protocol=STRICT_2MIX,
        version=VERSION,
        seed=seed,
        num_samples=num_samples,
        scale=1.0,
        sources=tuple(
            _source(window, level, wanted - level)
            for window, level, wanted in zip(windows, levels_db, wanted_db, strict=True)
        ),
    )


def _source(window: Window, level_db: float, gain_db: float) -> SourceRecipe:
    voice, start = window
    return SourceRecipe(
        key=voice.key,
        speaker=voice.speaker,
        group=voice.group,
        gender=voice.gender,
        start=start * SAMPLES_PER_FRAME,
        gain_db=round(gain_db, LEVEL_DIGITS),
        level_db=level_db,
        sha256=voice.sha256,
    )
