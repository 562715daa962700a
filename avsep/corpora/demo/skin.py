"""The skin of a head: colours painted on the uv chart of the face."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from avsep.corpora.demo.mesh import Part, Template, load_template

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from avsep.corpora.demo.identity import Identity

    Array = NDArray[np.float64]

SIZE = 384  # pixels per side of the chart, about two per pixel of the picture
LEVELS = 1024  # colours are rounded to 1/1024, see `paint`
_HEAD_FROM_Y = 5.2  # the chart covers the skin above this y
_INSIDE_MOUTH = np.array([0.20, 0.045, 0.045])


def ramp(start: float, end: float, value: Array) -> Array:
    """A smooth step from 0 at `start` to 1 at `end`, which may be the smaller one."""
    t = np.clip((value - start) / (end - start), 0, 1)
    return t * t * (3 - 2 * t)


def bell(value: Array, width: float) -> Array:
    """A Gaussian of height 1 and standard deviation `width`."""
    return np.exp(-0.5 * (value / width) ** 2)


@dataclass(frozen=True, kw_only=True, eq=False)
class Chart:
    """The part of the uv square that shows the face, as a square of S x S pixels.

    Attributes:
        origin: (2,) corner of the chart in uv.
        scale: pixels per uv unit.
        places: (S, S, 3) float64, position of each pixel on the template; 0 outside of the skin.
        covered: (S, S) bool, whether a pixel is on the skin.
        masks: name -> (S, S) float64 in 0..1.
    """

    origin: Array
    scale: float
    places: Array
    covered: NDArray[np.bool_]
    masks: dict[str, Array]

    def pixels(self, uv: NDArray[np.float32]) -> Array:
        """uv points (..., 2) in pixels of the chart."""
        return (uv - self.origin) * self.scale


@functools.lru_cache(maxsize=1)
def load_chart() -> Chart:
    """The chart of the template that ships with the package."""
    from avsep.corpora.demo import raster

    template = load_template()
    skin = template.triangles[template.parts == Part.SKIN]
    used = np.unique(skin)
    uv = template.uv[used[template.vertices[used, 1] > _HEAD_FROM_Y]].astype(np.float64)
    low, high = uv.min(0) - 0.01, uv.max(0) + 0.01
    scale = SIZE / float((high - low).max())
    flat = np.ones((len(template.uv), 3), np.float32)
    flat[:, :2] = (template.uv - low) * scale
    nearest = np.empty((SIZE, SIZE), np.int32)
    depth = np.empty((SIZE, SIZE), np.float32)
    raster.rasterise(flat, skin, np.zeros(len(skin), np.bool_), nearest, depth)
    covered = nearest >= 0
    rows, columns = np.nonzero(covered)
    corners = skin[nearest[rows, columns]]
    places = np.zeros((SIZE, SIZE, 3))
    places[rows, columns] = _interpolate(
        flat[corners, :2].astype(np.float64),
        template.vertices[corners].astype(np.float64),
        np.stack([columns, rows], -1).astype(np.float64),
    )
    grid = np.stack(np.meshgrid(np.arange(SIZE), np.arange(SIZE)), -1) / scale + low
    masks = {name: template.sample_mask(name, grid) for name in template.masks}
    return Chart(origin=low, scale=scale, places=places, covered=covered, masks=masks)


def _interpolate(corners: Array, values: Array, points: Array) -> Array:
    """Interpolate values (P, 3, C) at triangle corners (P, 3, 2) to `points` (P, 2): (P, C)."""
    edge1, edge2 = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    away = points - corners[:, 0]
    area = edge1[:, 0] * edge2[:, 1] - edge2[:, 0] * edge1[:, 1]
    b = (away[:, 0] * edge2[:, 1] - edge2[:, 0] * away[:, 1]) / area
    c = (edge1[:, 0] * away[:, 1] - away[:, 0] * edge1[:, 1]) / area
    weights = np.stack([1 - b - c, b, c], -1)
    return (values * weights[..., None]).sum(1)


@functools.lru_cache(maxsize=32)
def _spline(size: int, knots: int) -> Array:
    """(size, knots) weights of a cubic B-spline through evenly spaced knots."""
    place = (np.arange(size) + 0.5) * knots / size - 0.5
    distance = np.abs(place[:, None] - np.arange(-1, knots + 1)[None])
    near = 2 / 3 - distance**2 + distance**3 / 2
    far = np.clip(2 - distance, 0, None) ** 3 / 6
    weights = np.where(distance < 1, near, far)
    weights[:, 1] += weights[:, 0]  # outside, the first and the last knot are repeated
    weights[:, -2] += weights[:, -1]
    return weights[:, 1:-1]


def cloud(
    rng: np.random.Generator, height: int, width: int, octaves: tuple[int, ...], fade: float = 0.6
) -> Array:
    """(height, width) smooth noise in -1..1; the grains of octave `o` have 2**o pixels."""
    total = np.zeros((height, width))
    amplitude = 1.0
    for octave in octaves:
        rows, columns = max(2, height >> octave), max(2, width >> octave)
        grain = rng.standard_normal((rows, columns))
        if octave:
            grain = _spline(height, rows) @ grain @ _spline(width, columns).T
        total += amplitude * grain
        amplitude *= fade
    return total / (np.abs(total).max() + 1e-6)


@dataclass(frozen=True, kw_only=True, eq=False)
class Skin:
    """A painted chart.

    Attributes:
        chart: (S, S, 5) float32: linear red, green, blue, gloss, share of mouth inside.
        scalp: (S, S) float64 in 0..1, where hair grows.
    """

    chart: NDArray[np.float32]
    scalp: Array


class _Canvas:
    """The chart while it is painted: coordinates, noise and the colours so far."""

    def __init__(self, identity: Identity) -> None:
        chart = load_chart()
        rng = np.random.default_rng(identity.seed)
        self.rng = rng
        self.masks = chart.masks
        self.places = chart.places
        self.x, self.y, self.z = np.moveaxis(chart.places, -1, 0)
        self.side = np.abs(self.x)
        self.mottle = cloud(rng, SIZE, SIZE, (6, 5, 4, 3))
        self.grain = cloud(rng, SIZE, SIZE, (2, 1, 0), 0.9)
        self.strands = cloud(rng, SIZE, SIZE, (3, 1, 0), 0.9)
        self.colour = np.ones((SIZE, SIZE, 3)) * np.array(identity.skin)

    def darken(self, amount: Array) -> None:
        """Multiply all colours by 1 - amount (S, S)."""
        self.colour *= (1 - amount)[..., None]

    def cover(self, amount: Array, colour: Array) -> None:
        """Blend `colour` (3,) or (S, S, 3) over the canvas by `amount` (S, S)."""
        self.colour += amount[..., None] * (colour - self.colour)


def paint(template: Template, identity: Identity) -> Skin:
    """Paint the skin of one head.

    Everything is computed in float64 and rounded to 1/1024, so that differences between processors
    do not show.
    """
    from scipy.ndimage import gaussian_filter

    canvas = _Canvas(identity)
    _paint_complexion(canvas, identity)
    lips = gaussian_filter(canvas.masks["lips"], 0.75)
    _paint_facial_hair(canvas, identity, template)
    lip_grain = (1 + 0.12 * canvas.strands + 0.08 * canvas.grain)[..., None]
    canvas.cover(lips * identity.lip_amount, np.array(identity.lip) * lip_grain)
    scalp = _scalp(canvas, identity)
    if not identity.bald:
        grain = (1 + 0.35 * canvas.strands + 0.2 * canvas.grain)[..., None]
        canvas.cover(scalp, np.array(identity.hair) * grain)
    inside = gaussian_filter(canvas.masks["inside-mouth"], 0.5)
    canvas.cover(inside, _INSIDE_MOUTH)
    canvas.colour[~load_chart().covered] = identity.skin
    forehead = bell(canvas.side, 0.2) * bell(canvas.y - 7.1, 0.5)
    gloss = 0.3 + 0.7 * lips + 0.3 * forehead - 0.2 * scalp
    layers = [np.clip(canvas.colour, 0.005, 1), gloss[..., None], inside[..., None]]
    chart = np.round(np.concatenate(layers, -1) * LEVELS) / LEVELS
    return Skin(chart=chart.astype(np.float32), scalp=scalp)


def _paint_complexion(canvas: _Canvas, identity: Identity) -> None:
    x, y, z, side = canvas.x, canvas.y, canvas.z, canvas.side
    canvas.darken(-0.07 * canvas.mottle - 0.05 * canvas.grain)
    cheeks = bell(side - 0.42, 0.2) * bell(y - 6.95, 0.22) * ramp(0.75, 1.0, z)
    nose = bell(side, 0.16) * bell(y - 6.98, 0.14) * ramp(1.1, 1.3, z)
    red = identity.blush * (cheeks + 0.9 * nose)
    canvas.colour *= 1 + red[..., None] * np.array([0.14, -0.12, -0.10])
    under_eyes = bell(side - 0.3, 0.14) * bell(y - 7.14, 0.06) * ramp(0.9, 1.1, z)
    canvas.darken(0.16 * under_eyes)
    canvas.darken(0.10 * canvas.masks["eyelids"])
    for _ in range(identity.moles):
        at_x, at_y = canvas.rng.uniform(-0.6, 0.6), canvas.rng.uniform(6.5, 8.0)
        radius = canvas.rng.uniform(0.01, 0.022)
        spot = np.exp(-((x - at_x) ** 2 + (y - at_y) ** 2) / radius**2)
        canvas.darken(0.55 * spot * (z > 0.8))
    if identity.freckles:
        spots = ramp(0.3, 0.5, canvas.grain) * bell(side - 0.3, 0.3) * bell(y - 7, 0.3)
        fade = 0.3 * identity.freckles * spots[..., None]
        canvas.colour *= 1 - fade * np.array([0.6, 1, 1.1])


def _paint_facial_hair(canvas: _Canvas, identity: Identity, template: Template) -> None:
    """Beard, eyebrows and the line of the lashes."""
    y, z, side, strands = canvas.y, canvas.z, canvas.side, canvas.strands
    hair = np.array(identity.hair)
    if identity.beard:
        cheek = ramp(6.86, 6.70, y) * ramp(6.05, 6.2, y) * (z > 0.2) * ramp(0.1, 0.3, z)
        cheek = cheek * (1 - canvas.masks["lips"])
        moustache = bell(y - 6.84, 0.05) * ramp(0.34, 0.26, side) * (z > 1)
        mask = np.maximum(cheek, moustache) * np.clip(0.75 + 0.6 * strands, 0, 1)
        canvas.cover(identity.beard * mask, hair * 0.8)
    arch = identity.brow_height + 0.08 * (side - 0.2)
    arch = arch - 0.40 * np.clip(side - 0.40, 0, 1) ** 1.2
    thickness = identity.brow_thickness * ramp(0.68, 0.30, side) * ramp(0.05, 0.16, side) + 1e-3
    brow = np.exp(-((np.abs(y - arch) / thickness) ** 2.2))
    brow = (
        brow * ((side < 0.66) & (side > 0.07) & (z > 0.7)) * np.clip(0.8 + 0.7 * strands, 0.25, 1)
    )
    canvas.cover(0.8 * np.clip(brow, 0, 1), hair * 0.7)
    for part in (Part.LEFT_EYE, Part.RIGHT_EYE):  # skin that touches the eyeball
        eye = template.vertices[template.vertex_parts == part].astype(np.float64)
        low, high = eye.min(0), eye.max(0)
        centre, radius = (low + high) / 2, (high - low)[0] / 2
        distance = np.sqrt(((canvas.places - centre) ** 2).sum(-1))
        line = ramp(radius + 0.022, radius + 0.006, distance) * (y > centre[1] - 0.03)
        canvas.darken((0.85 if identity.female else 0.6) * line)


def _scalp(canvas: _Canvas, identity: Identity) -> Array:
    """(S, S) in 0..1, where hair grows on the head."""
    y, z, side, strands = canvas.y, canvas.z, canvas.side, canvas.strands
    line = 8.0 + identity.hairline - 0.30 * np.clip(side - 0.25, 0, 1) ** 1.1
    top = ramp(line - 0.05, line + 0.06, y + 0.05 * strands)
    back = ramp(0.55, 0.35, z + 0.02 * strands - 0.25 * (y - 7.4)) * ramp(6.5, 6.7, y)
    sideburn = ramp(0.62, 0.5, np.abs(z - 0.45)) * ramp(7.0, 7.2, y) * ramp(0.58, 0.70, side)
    grown = np.maximum(np.maximum(top, back), 0.9 * sideburn)
    return np.clip(grown, 0, 1) * (1 - canvas.masks["ears"])
