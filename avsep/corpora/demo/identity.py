"""What distinguishes one head from another: shape, colours, hair."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np

Colour = tuple[float, float, float]
"""Linear red, green, blue in 0..1."""

# Each of these has two targets, which end in -incr and -decr.
_SINGLE = (
    *(f"head/head-{x}" for x in ("fat", "scale-horiz", "scale-vert")),
    *(f"chin/chin-{x}" for x in ("width", "height", "prominent", "bones")),
    *(f"mouth/mouth-{x}" for x in ("scale-horiz", "scale-vert")),
    *(f"nose/nose-{x}" for x in ("scale-horiz", "scale-vert", "scale-depth", "width2", "point")),
    "forehead/forehead-scale-vert",
)
_PAIRED = (
    *(f"cheek/{{}}-cheek-{x}" for x in ("bones", "volume")),
    *(f"eyes/{{}}-eye-{x}" for x in ("scale", "height2", "bag")),
)
_SHAPES = ("oval", "round", "square", "rectangular", "triangular", "diamond", "invertedtriangular")
_ORIGINS = ("caucasian", "african", "asian")  # names of the base targets
_HAIRS: tuple[Colour, ...] = (
    (0.02, 0.016, 0.014),
    (0.06, 0.035, 0.02),
    (0.14, 0.075, 0.035),
    (0.33, 0.20, 0.09),
    (0.22, 0.22, 0.22),
    (0.25, 0.09, 0.03),
)
_GREY: Colour = (0.30, 0.30, 0.29)
_IRISES: tuple[Colour, ...] = (
    (0.10, 0.05, 0.02),
    (0.16, 0.09, 0.03),
    (0.12, 0.20, 0.26),
    (0.13, 0.18, 0.10),
    (0.06, 0.03, 0.015),
)
_DARK_SKIN, _LIGHT_SKIN = np.array([0.17, 0.095, 0.06]), np.array([0.74, 0.51, 0.40])


@dataclass(frozen=True, kw_only=True)
class Identity:
    """One head as numbers. Lengths are in decimetres on the template, colours are linear.

    Attributes:
        seed: seed of the textures.
        female: whether shape and colours are those of a woman.
        targets: names and amounts of identity targets.
        skin: base colour of the skin.
        hair: colour of the hair.
        iris: colour of the iris.
        lip: colour of the lips.
        cloth: colour of the shirt.
        lip_amount: opacity of the lip colour over the skin, 0..1.
        blush: strength of red cheeks.
        freckles: strength of freckles, 0 for none.
        moles: number of moles.
        beard: strength of the beard, 0 for none.
        brow_height: height of the eyebrows, as y on the template.
        brow_thickness: thickness of the eyebrows.
        hairline: shift of the hairline upwards.
        bald: whether the head has no hair.
        hair_volume: distance of the surface of the hair from the scalp.
        long_hair: whether the head has the mesh of long hair.
        hair_parting: half the width of the face that long hair leaves free.
        hair_end: y on the template where long hair ends.
        articulation: factor on the movements of the lips, about 1.
    """

    seed: int
    female: bool
    targets: tuple[tuple[str, float], ...]
    skin: Colour
    hair: Colour
    iris: Colour
    lip: Colour
    cloth: Colour
    lip_amount: float
    blush: float
    freckles: float
    moles: int
    beard: float
    brow_height: float
    brow_thickness: float
    hairline: float
    bald: bool
    hair_volume: float
    long_hair: bool
    hair_parting: float
    hair_end: float
    articulation: float


def draw_identity(
    rng: np.random.Generator, *, seed: int, female: bool, available: Collection[str]
) -> Identity:
    """Draw one head.

    Args:
        rng: draws everything except the textures.
        seed: seed of the textures.
        female: whether shape and colours are those of a woman.
        available: names of the targets that the template has.
    """
    origins = rng.dirichlet([0.5, 0.5, 0.5])
    age = float(rng.choice([0, 0.15, 0.35, 0.6]))
    targets = _draw_targets(rng, female, origins, age, available)
    darkness = origins[1] + rng.uniform(-0.15, 0.25)
    light = np.clip(1 - darkness, 0, 1) ** 1.1
    skin = (_DARK_SKIN + (_LIGHT_SKIN - _DARK_SKIN) * light) * rng.uniform(0.94, 1.05, 3)
    hair = _HAIRS[int(rng.integers(0, 2 if origins[0] < 0.5 else len(_HAIRS)))]
    if age >= 0.6:
        hair = _GREY
    if female:
        lip = skin * np.array([0.88, 0.40, 0.42]) + np.array([0.06, 0, 0.01])
    else:
        lip = skin * np.array([0.86, 0.52, 0.52])
    iris = _IRISES[int(rng.integers(0, 5) if origins[0] > 0.5 else rng.choice([0, 1, 4]))]
    return Identity(
        seed=seed,
        female=female,
        targets=targets,
        skin=_colour(skin),
        hair=hair,
        iris=iris,
        lip=_colour(lip),
        cloth=_colour(rng.uniform(0.04, 0.4) * rng.uniform(0.6, 1.3, 3)),
        lip_amount=_rounded(rng.uniform(0.65, 0.95)),
        blush=_rounded(rng.uniform(0.4, 1.2)),
        freckles=float(rng.choice([0, 0, 0.6]) * (darkness < 0.4)),
        moles=int(rng.integers(0, 5)),
        beard=float(rng.choice([0, 0.25, 0.55])) * (not female),
        brow_height=_rounded(rng.uniform(7.48, 7.54)),
        brow_thickness=_rounded(rng.uniform(0.030, 0.045) + 0.015 * (not female)),
        hairline=_rounded(rng.uniform(-0.08, 0.12)),
        bald=bool(rng.random() < 0.12 and not female),
        hair_volume=_rounded(rng.uniform(0.06, 0.2)),
        long_hair=bool(rng.random() < 0.85 and female),
        hair_parting=_rounded(rng.uniform(0.62, 0.8)),
        hair_end=float(rng.choice([4.2, 5.6, 6.2])),
        articulation=_rounded(rng.uniform(0.85, 1.2)),
    )


def _draw_targets(
    rng: np.random.Generator,
    female: bool,
    origins: np.ndarray,
    age: float,
    available: Collection[str],
) -> tuple[tuple[str, float], ...]:
    targets: dict[str, float] = {}
    sex = "female" if female else "male"
    ages = (("young", 1 - age), ("old", age))
    for origin, share in zip(_ORIGINS, origins, strict=True):
        for name, weight in ages:
            if share * weight > 0.02:
                targets[f"t/macrodetails/{origin}-{sex}-{name}"] = share * weight
    for name, weight in ages:
        targets[f"t/macrodetails/universal-{sex}-{name}-averagemuscle-averageweight"] = weight
    for name in _SINGLE:
        amount = rng.uniform(-0.5, 0.5)
        targets[f"t/{name}-{'incr' if amount > 0 else 'decr'}"] = abs(amount)
    for name in _PAIRED:
        wide_eyes = "eye-" in name and "bag" not in name
        amount = rng.uniform(-0.2, 0.7) if wide_eyes else rng.uniform(-0.5, 0.5)
        for side in "lr":
            targets[f"t/{name.format(side)}-{'incr' if amount > 0 else 'decr'}"] = abs(amount)
    targets[f"t/head/head-{rng.choice(_SHAPES)}"] = rng.uniform(0.2, 0.8)
    # A few targets exist in one direction only; the other direction changes nothing.
    return tuple((name, _rounded(amount)) for name, amount in targets.items() if name in available)


def _rounded(value: float) -> float:
    # Six decimals, so that differences between processors change no picture.
    return round(float(value), 6)


def _colour(values: np.ndarray) -> Colour:
    red, green, blue = (_rounded(value) for value in values)
    return red, green, blue
