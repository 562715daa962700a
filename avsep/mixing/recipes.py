"""Lists of recipes as files: one JSON object per line, checked when read."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, replace
from pathlib import Path, PurePosixPath
from typing import Any

from avsep.errors import CheckError, UsageError
from avsep.files import dump_json, read_jsonl, sha256_text, write_jsonl
from avsep.schema import SAMPLES_PER_FRAME, MixtureRecipe, NoisyRecipe, check_id
from avsep.settings import build

# These protocols require two videos only, or have published lists with errors.
ONE_SPEAKER_ALLOWED = frozenset({"visualvoice-2mix", "ctcnet-2mix"})
NOISE_SUFFIX = "+noise"
MAX_GAIN_DB = 60.0  # the arithmetic of `render` is exact up to here


def content_id(prefix: str, recipe: MixtureRecipe) -> str:
    """An id made from everything in a recipe except its present id."""
    values = asdict(recipe)
    del values["mixture_id"]
    return f"{prefix}-{sha256_text(dump_json(values, indent=None))[:12]}"


def write_recipes(path: Path, recipes: Iterable[MixtureRecipe]) -> None:
    """Write recipes, one per line, in the given order.

    Raises:
        ValueError: a recipe is not valid, or two have the same id.
    """
    listed = list(recipes)
    check_recipes(listed)
    write_jsonl(path, [asdict(recipe) for recipe in listed])


def read_recipes(path: Path) -> list[MixtureRecipe]:
    """Read a list of recipes.

    Raises:
        CheckError: the file is missing or damaged, or a recipe is not valid; names the line.
    """
    recipes = []
    for number, values in enumerate(read_jsonl(path), start=1):
        try:
            recipes.append(_parse(values, path.parent))
        except (UsageError, ValueError) as error:
            raise CheckError(f"{path}, line {number}: {error}") from error
    try:
        check_recipes(recipes)
    except ValueError as error:
        raise CheckError(f"{path}: {error}") from error
    return recipes


def _parse(values: Any, folder: Path) -> MixtureRecipe:
    if not isinstance(values, dict) or "noise" not in values:
        return build(MixtureRecipe, values, "recipe")
    recipe = build(NoisyRecipe, values, "recipe")
    path = PurePosixPath(recipe.noise.path)
    if path.is_absolute() or ".." in path.parts:
        raise ValueError(
            f"{recipe.mixture_id}: its noise {path} is outside the folder of the list."
        )
    return replace(recipe, noise=replace(recipe.noise, path=str(folder / path)))


def check_recipes(recipes: Sequence[MixtureRecipe]) -> None:
    """Pass when each recipe is valid and no two have the same id.

    Raises:
        ValueError: names the recipe and what is wrong with it.
    """
    seen: set[str] = set()
    for recipe in recipes:
        _check(recipe)
        if recipe.mixture_id in seen:
            raise ValueError(f"the id {recipe.mixture_id} occurs twice.")
        seen.add(recipe.mixture_id)


def _base(recipe: MixtureRecipe) -> str:
    """The protocol that the voices were drawn by."""
    return recipe.protocol.removesuffix(NOISE_SUFFIX)


def _check(recipe: MixtureRecipe) -> None:
    check_id(recipe.mixture_id)
    name = recipe.mixture_id
    if recipe.num_samples <= 0 or recipe.num_samples % SAMPLES_PER_FRAME:
        raise ValueError(
            f"{name} has {recipe.num_samples} samples; it must be a multiple of"
            f" {SAMPLES_PER_FRAME}."
        )
    if not 0 < recipe.scale <= 1:
        raise ValueError(f"{name} has the scale {recipe.scale}; it must be above 0 and at most 1.")
    if len(recipe.sources) < 2:
        raise ValueError(f"{name} has {len(recipe.sources)} voices; a mixture has at least 2.")
    speakers = [source.speaker for source in recipe.sources]
    if len(set(speakers)) < len(speakers) and _base(recipe) not in ONE_SPEAKER_ALLOWED:
        raise ValueError(f"{name} has the speaker {speakers[0]} twice.")
    if isinstance(recipe, NoisyRecipe) and not abs(recipe.noise.gain_db) <= MAX_GAIN_DB:
        raise ValueError(
            f"{name}: its noise has a gain of {recipe.noise.gain_db} dB, beyond {MAX_GAIN_DB:g}."
        )
    for source in recipe.sources:
        for value in (source.key, source.speaker, source.group):
            check_id(value)
        if source.start < 0 or source.start % SAMPLES_PER_FRAME:
            raise ValueError(
                f"{name}: {source.key} starts at {source.start}; it must be a multiple of"
                f" {SAMPLES_PER_FRAME}, or sound and pictures would not line up."
            )
        if not abs(source.gain_db) <= MAX_GAIN_DB:
            raise ValueError(
                f"{name}: {source.key} has a gain of {source.gain_db} dB, beyond {MAX_GAIN_DB:g}."
            )
        if not math.isfinite(source.level_db):
            raise ValueError(f"{name}: {source.key} has no finite level: {source.level_db} dB.")
