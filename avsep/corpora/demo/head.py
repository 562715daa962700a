"""One head, ready to be posed and drawn."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from avsep.corpora.demo import raster, shading
from avsep.corpora.demo.mesh import Part, Template
from avsep.corpora.demo.skin import SIZE, Skin, cloud, load_chart, paint, ramp
from avsep.corpora.demo.visemes import FACE_UNITS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from avsep.corpora.demo.identity import Identity

NECK = np.array([0, -1.35, -0.9], np.float32)  # centre of the head's rotation
_SKY_DIRECTIONS, _SKY_PIXELS = 48, 160  # for the ambient occlusion
_OCCLUSION_LEVELS = 255


@dataclass(frozen=True, kw_only=True, eq=False)
class Head:
    """A head at rest. N vertices, U face units; the origin is between the eyes.

    Attributes:
        identity: the numbers that the head was built from.
        rest: (N, 3) float32 positions of the vertices.
        weld: (N,) int32, see `Template`.
        surface: triangles, colours and textures.
        one_sided: (M,) bool, whether a triangle can be skipped when it is seen from behind.
        follow: (N,) float32 in 0..1, share of the head's rotation that applies to a vertex.
        unit_ends: (U + 1,) int32; unit u owns the entries unit_ends[u] to unit_ends[u + 1] of the
            next two arrays.
        unit_index: (K,) int32 vertices that the face units move.
        unit_delta: (K, 3) float32 displacements of these vertices.
        upper_lip: vertex in the middle of the inner edge of the upper lip.
        lower_lip: vertex in the middle of the inner edge of the lower lip.
    """

    identity: Identity
    rest: NDArray[np.float32]
    weld: NDArray[np.int32]
    surface: shading.Surface
    one_sided: NDArray[np.bool_]
    follow: NDArray[np.float32]
    unit_ends: NDArray[np.int32]
    unit_index: NDArray[np.int32]
    unit_delta: NDArray[np.float32]
    upper_lip: int
    lower_lip: int


def build_head(template: Template, identity: Identity) -> Head:
    """Shape and paint one head, in a few tenths of a second."""
    vertices = template.vertices.copy()
    for name, amount in identity.targets:
        template.move(vertices, name, amount)
    skin = paint(template, identity)
    if not identity.bald:
        lift = _at_vertices(template, skin.scalp) * (template.vertex_parts == Part.SKIN)
        out = _normals(template, vertices, template.triangles)
        vertices += (out * (lift * identity.hair_volume)[:, None]).astype(np.float32)
    left = vertices[template.vertex_parts == Part.LEFT_EYE]
    right = vertices[template.vertex_parts == Part.RIGHT_EYE]
    vertices = vertices - np.concatenate([left, right]).mean(0)
    shown = _shown_triangles(template, identity)
    triangles = np.ascontiguousarray(template.triangles[shown])
    surface = _surface(template, identity, skin, vertices, triangles, template.parts[shown])
    ends, index, delta = _units(template)
    upper, lower = _lip_vertices(template, vertices)
    return Head(
        identity=identity,
        rest=vertices,
        weld=template.weld,
        surface=surface,
        one_sided=surface.parts == Part.SKIN,
        follow=ramp(-1.9, -1.0, vertices[:, 1].astype(np.float64)).astype(np.float32),
        unit_ends=ends,
        unit_index=index,
        unit_delta=delta,
        upper_lip=upper,
        lower_lip=lower,
    )


def _at_vertices(template: Template, layer: NDArray[np.float64]) -> NDArray[np.float64]:
    """The values (N,) of a layer (S, S) of the chart at each vertex."""
    place = np.clip(load_chart().pixels(template.uv), 0, SIZE - 1).astype(np.int64)
    return layer[place[:, 1], place[:, 0]]


def _normals(
    template: Template, vertices: NDArray[np.float32], triangles: NDArray[np.int32]
) -> NDArray[np.float32]:
    out = np.empty_like(vertices)
    room = np.empty((int(template.weld.max()) + 1, 3))
    raster.normals(vertices, triangles, template.weld, room, out)
    return out


def _shown_triangles(template: Template, identity: Identity) -> NDArray[np.bool_]:
    """(M,) the triangles that this head has: no lashes, and long hair without a fringe."""
    centre = template.vertices[template.triangles].mean(1)
    side, y, z = np.abs(centre[:, 0]), centre[:, 1], centre[:, 2]
    hair = template.parts == Part.HAIR
    fringe = (z > -0.05) | ((y < 6.35) & (side < identity.hair_parting))
    cut = hair & (fringe | (y < identity.hair_end) | (not identity.long_hair))
    return ~cut & (template.parts != Part.LASHES)


def _surface(
    template: Template,
    identity: Identity,
    skin: Skin,
    vertices: NDArray[np.float32],
    triangles: NDArray[np.int32],
    parts: NDArray[np.uint8],
) -> shading.Surface:
    rng = np.random.default_rng([identity.seed, 1])
    boxes = [vertices[template.vertex_parts == part] for part in (Part.LEFT_EYE, Part.RIGHT_EYE)]
    strands = np.repeat(cloud(rng, 8, 1024, (0,)), 64, axis=0)
    spokes = 0.8 + 0.25 * cloud(rng, 2, 256, (2, 1, 0))[0]
    return shading.Surface(
        triangles=triangles,
        parts=np.ascontiguousarray(parts),
        vertices=_vertex_table(template, vertices, triangles),
        chart=skin.chart,
        strands=strands.astype(np.float32),
        spokes=spokes.astype(np.float32),
        eye_centres=np.array([(b.min(0) + b.max(0)) / 2 for b in boxes], np.float64),
        iris=np.array(identity.iris),
        hair=np.array(identity.hair),
        cloth=np.array(identity.cloth),
    )


def _vertex_table(
    template: Template, vertices: NDArray[np.float32], triangles: NDArray[np.int32]
) -> NDArray[np.float32]:
    """(N, 16) the properties of each vertex that do not change, see `shading.Surface.vertices`."""
    table = np.zeros((len(vertices), shading.COLUMNS), np.float32)
    table[:, shading.REST : shading.CHART] = vertices
    table[:, shading.CHART : shading.STRAND] = load_chart().pixels(template.uv)
    # The hair mesh has its own corner of the uv square.
    table[:, shading.STRAND : shading.SKY] = (template.uv - [0.9, 0.82]) * [12800, 5680]
    table[:, shading.SKY] = _occlusion(template, vertices, triangles)
    table[:, shading.COLLAR] = _collar(template)
    return table


def _collar(template: Template) -> NDArray[np.float32]:
    """(N,) depth inside a shirt with a round neck; 0 or less is bare skin."""
    x, y, z = template.vertices.T.astype(np.float64)
    inside = 5.74 - 0.28 * z + 0.4 * np.clip(np.abs(x) - 0.5, 0, None) - y
    return np.where(template.vertex_parts == Part.SKIN, inside, -1).astype(np.float32)


def _occlusion(
    template: Template, vertices: NDArray[np.float32], triangles: NDArray[np.int32]
) -> NDArray[np.float32]:
    """(N,) share of the sky that each vertex sees, 0.25..1, tested from all directions."""
    points = vertices.astype(np.float64)
    out = _normals(template, vertices, triangles).astype(np.float64)
    seen = np.zeros(len(points))
    possible = np.full(len(points), 1e-6)
    nearest = np.empty((_SKY_PIXELS, _SKY_PIXELS), np.int32)
    depth = np.empty((_SKY_PIXELS, _SKY_PIXELS), np.float32)
    two_sided = np.zeros(len(triangles), np.bool_)
    for k in range(_SKY_DIRECTIONS):  # directions on a spiral over the sphere
        z = 1 - 2 * (k + 0.5) / _SKY_DIRECTIONS
        angle, radius = k * 2.39996, np.sqrt(1 - z * z)
        toward = np.array([radius * np.cos(angle), radius * np.sin(angle), z])
        across = np.cross(toward, [0.0, 1, 0] if abs(toward[1]) < 0.9 else [1.0, 0, 0])
        across /= np.sqrt((across**2).sum())
        axes = np.stack([across, np.cross(toward, across), toward])
        view = (points[:, None, :] * axes).sum(-1)
        low, high = view.min(0), view.max(0)
        screen = np.empty_like(vertices)
        screen[:, :2] = (view[:, :2] - low[:2]) / (high - low)[:2].max() * (_SKY_PIXELS - 1)
        screen[:, 2] = 1 + (view[:, 2] - low[2])
        raster.rasterise(screen, triangles, two_sided, nearest, depth)
        at = np.clip(np.round(screen[:, :2]).astype(np.int64), 0, _SKY_PIXELS - 1)
        visible = screen[:, 2] > depth[at[:, 1], at[:, 0]] - 0.07
        weight = np.maximum((out * toward).sum(-1), 0)
        seen += weight * visible
        possible += weight
    share = np.clip(0.25 + 0.85 * seen / possible, 0, 1)
    return (np.round(share * _OCCLUSION_LEVELS) / _OCCLUSION_LEVELS).astype(np.float32)


def _units(
    template: Template,
) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.float32]]:
    pairs = [template.deltas[f"u/{name}"] for name in FACE_UNITS]
    ends = np.cumsum([0] + [len(index) for index, _ in pairs]).astype(np.int32)
    return ends, np.concatenate([i for i, _ in pairs]), np.concatenate([d for _, d in pairs])


def _lip_vertices(template: Template, vertices: NDArray[np.float32]) -> tuple[int, int]:
    """The innermost vertices of both lips on the midline; the jaw moves only the lower lip."""
    jaw = np.zeros((len(vertices), 3), np.float32)
    template.move(jaw, "u/jawOpen", 1.0)
    x, y, z = vertices.T
    middle = (np.abs(x) < 0.02) & (z > -0.2) & (y < -0.35) & (y > -1.0)
    middle &= (template.vertex_parts == Part.SKIN) & (
        template.sample_mask("lips", template.uv) > 0.4
    )
    upper = np.flatnonzero(middle & (jaw[:, 1] > -0.02))
    lower = np.flatnonzero(middle & (jaw[:, 1] < -0.06))
    return int(upper[np.argmin(y[upper])]), int(lower[np.argmax(y[lower])])
