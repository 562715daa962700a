"""The inner loop of the renderer that computes the colour of each pixel.

The picture is rasterised at twice its size. The samples of a pixel that belong to the same surface
are shaded only once. The functions call each other, so they must be in one file: numba's cache
notices changes in that file only.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from avsep.corpora.demo.kernel import kernel
from avsep.corpora.demo.mesh import Part

SUPERSAMPLING = 2  # samples per pixel in each direction; `resolve` is written for 2
TONES = 2048  # entries of the tone curve
TONE_SHIFT = 6  # the values of the tone curve and the noise are in 1/64 of a grey level
TONE_STEPS = 1 << TONE_SHIFT
HALF_STEP = TONE_STEPS // 2
TONE_LIMIT = 1.12  # square root of the brightest linear value before white
DEPTH_TOLERANCE = 0.005  # relative difference in depth within one surface

LEFT_EYE, RIGHT_EYE = int(Part.LEFT_EYE), int(Part.RIGHT_EYE)
SKIN, TEETH, TONGUE, HAIR = int(Part.SKIN), int(Part.TEETH), int(Part.TONGUE), int(Part.HAIR)

# Cosines of the angle from the gaze, on the eyeball.
PUPIL, IRIS_RIM, IRIS, WHITE_START, WHITE_END = 0.98, 0.913, 0.868, 0.825, 0.268


# Columns of the table that `resolve` reads: the properties of a vertex, in one cache line.
SCREEN, NORMAL, DEPTH, REST, CHART, STRAND, SKY, COLLAR = 0, 3, 6, 7, 10, 12, 14, 15
COLUMNS = 16


class Surface(NamedTuple):
    """The triangles, colours and textures of one head. The arrays are never written to.

    Attributes:
        triangles: (M, 3) int32 vertices of each triangle.
        parts: (M,) uint8, the `Part` of each triangle.
        vertices: (N, 16) float32. Columns from `REST` on: position at rest (3), pixel of `chart`
            (2), pixel of `strands` (2), share of the sky that the vertex sees, and depth inside
            the shirt (above 0). The columns before are filled for each frame: screen (3), normal
            (3), z.
        chart: (S, S, 5) float32: linear red, green, blue, gloss, share of mouth inside.
        strands: (512, 1024) float32, changes in the brightness of hair, around 0.
        spokes: (256,) float32, brightness of the iris by direction.
        eye_centres: (2, 3) float64, centres of the left and the right eyeball.
        iris: (3,) float64, linear colour of the iris.
        hair: (3,) float64, linear colour of the hair.
        cloth: (3,) float64, linear colour of the shirt.
    """

    triangles: np.ndarray
    parts: np.ndarray
    vertices: np.ndarray
    chart: np.ndarray
    strands: np.ndarray
    spokes: np.ndarray
    eye_centres: np.ndarray
    iris: np.ndarray
    hair: np.ndarray
    cloth: np.ndarray


class Light(NamedTuple):
    """The light of a scene. Directions are unit vectors towards the light, (3,) float64.

    Attributes:
        key: direction of the main light.
        half: direction halfway between the main light and the viewer.
        rim: direction of the second light.
        key_colour: linear colour of the main light.
        sky: linear colour of the ambient light from above.
        ground: linear colour of the ambient light from below.
        rim_level: strength of the second light.
    """

    key: np.ndarray
    half: np.ndarray
    rim: np.ndarray
    key_colour: np.ndarray
    sky: np.ndarray
    ground: np.ndarray
    rim_level: float


@kernel
def _clip(value, low, high):  # type: ignore[no-untyped-def]
    return min(max(value, low), high)


@kernel
def _corner_weights(i, j, k, x, y, table):  # type: ignore[no-untyped-def]
    """Perspective-correct weights of the corners i, j, k of a triangle at screen (x, y)."""
    # In float64 as in `raster.rasterise`, so that the area is never 0.
    x0, y0 = float(table[i, 0]), float(table[i, 1])
    x1, y1, x2, y2 = table[j, 0] - x0, table[j, 1] - y0, table[k, 0] - x0, table[k, 1] - y0
    inverse = 1.0 / (x1 * y2 - x2 * y1)
    b = ((x - x0) * y2 - x2 * (y - y0)) * inverse
    c = (x1 * (y - y0) - (x - x0) * y1) * inverse
    # The mean of some samples may be slightly outside the triangle of one of them.
    b, c = _clip(b, 0.0, 1.0), _clip(c, 0.0, 1.0)
    a = max(1.0 - b - c, 0.0) * table[i, 2]
    b *= table[j, 2]
    c *= table[k, 2]
    scale = 1.0 / (a + b + c)
    return a * scale, b * scale, c * scale


@kernel
def _mix(table, column, i, j, k, a, b, c):  # type: ignore[no-untyped-def]
    """One column of `table`, mixed from the rows i, j, k by the weights a, b, c."""
    return a * table[i, column] + b * table[j, column] + c * table[k, column]


@kernel
def _eye(dx, dy, dz, gaze, iris, spokes):  # type: ignore[no-untyped-def]
    """Linear colour of an eyeball at the offset (dx, dy, dz) from its centre."""
    length = math.sqrt(dx * dx + dy * dy + dz * dz) + 1e-9
    toward = (dx * gaze[0] + dy * gaze[1] + dz * gaze[2]) / length
    if toward > PUPIL:
        return 0.01, 0.01, 0.01
    if toward > IRIS:
        across, along = dx - gaze[0] * length, dy - gaze[1] * length
        turn_ = along / (abs(across) + abs(along) + 1e-9)
        shade = spokes[int((turn_ + 1.0) * 63.5) + (128 if across < 0 else 0)]
        if toward < IRIS_RIM:
            shade = 0.35
        return iris[0] * shade, iris[1] * shade, iris[2] * shade
    u = _clip((WHITE_START - toward) / (WHITE_START - WHITE_END), 0.0, 1.0)
    shade = 1.0 - 0.35 * u * u * (3.0 - 2.0 * u)
    return 0.80 * shade, 0.77 * shade, 0.74 * shade


@kernel
def _skin(i, j, k, a, b, c, table, chart, cloth):  # type: ignore[no-untyped-def]
    """Linear colour, gloss and share of the inside of the mouth, for skin or the shirt over it."""
    last = chart.shape[0] - 1.001
    u = _clip(_mix(table, CHART, i, j, k, a, b, c), 0.0, last)
    v = _clip(_mix(table, CHART + 1, i, j, k, a, b, c), 0.0, last)
    ix, iy = int(u), int(v)
    fx, fy = u - ix, v - iy
    red, green, blue, gloss, inside = 0.0, 0.0, 0.0, 0.0, 0.0
    for row, column, weight in (
        (iy, ix, (1 - fx) * (1 - fy)),
        (iy, ix + 1, fx * (1 - fy)),
        (iy + 1, ix, (1 - fx) * fy),
        (iy + 1, ix + 1, fx * fy),
    ):
        red += weight * chart[row, column, 0]
        green += weight * chart[row, column, 1]
        blue += weight * chart[row, column, 2]
        gloss += weight * chart[row, column, 3]
        inside += weight * chart[row, column, 4]
    cover = _mix(table, COLLAR, i, j, k, a, b, c)
    if cover > 0:
        cover = min(cover * 40.0, 1.0)
        red += cover * (cloth[0] - red)
        green += cover * (cloth[1] - green)
        blue += cover * (cloth[2] - blue)
        gloss *= 1.0 - cover
    return red, green, blue, gloss, inside


@kernel
def _lit(albedo, bleed, main, rim, occlusion, up, colour, sky, ground):  # type: ignore[no-untyped-def]
    """One colour of a matte surface: main light, second light and ambient light."""
    around = sky * up + ground * (1.0 - up)
    return albedo * (colour * (main + bleed) + rim + occlusion * around)


@kernel
def _highlight(halfway, gloss, shine):  # type: ignore[no-untyped-def]
    """Reflection of the main light: broad (power 22), and on eyes also sharp (power 260)."""
    h2 = halfway * halfway
    h4 = h2 * h2
    h16 = h4 * h4 * h4 * h4
    light = 0.16 * gloss * h16 * h4 * h2
    if shine > 0:
        h64 = h16 * h16 * h16 * h16
        light += shine * h64 * h64 * h64 * h64 * h4
    return light


@kernel
def _shade(  # type: ignore[no-untyped-def]
    part, i, j, k, x, y, table, lip_z, gaze, chart, strands, spokes, eye_centres, iris, hair,
    cloth, key, half, rim_way, key_colour, sky, ground, rim_level,
):  # fmt: skip
    """Linear colour at the screen point (x, y) of a triangle with the corners i, j, k."""
    a, b, c = _corner_weights(i, j, k, x, y, table)
    occlusion = _mix(table, SKY, i, j, k, a, b, c)
    inside, shine = 0.0, 0.0
    if part == SKIN:
        red, green, blue, gloss, inside = _skin(i, j, k, a, b, c, table, chart, cloth)
    elif part in (LEFT_EYE, RIGHT_EYE):
        eye = part - LEFT_EYE
        dx = _mix(table, REST, i, j, k, a, b, c) - eye_centres[eye, 0]
        dy = _mix(table, REST + 1, i, j, k, a, b, c) - eye_centres[eye, 1]
        dz = _mix(table, REST + 2, i, j, k, a, b, c) - eye_centres[eye, 2]
        red, green, blue = _eye(dx, dy, dz, gaze, iris, spokes)
        u = _clip((0.16 - dy) / 0.22, 0.0, 1.0)  # the upper lid shades the eyeball
        occlusion = 0.55 + 0.45 * u * u * (3.0 - 2.0 * u)
        gloss, shine = 1.6, 1.2
    elif part == HAIR:
        u = _mix(table, STRAND, i, j, k, a, b, c)
        v = _mix(table, STRAND + 1, i, j, k, a, b, c)
        strand = max(1.0 + 0.5 * strands[int(v) & 511, int(u) & 1023], 0.15)
        red, green, blue, gloss = hair[0] * strand, hair[1] * strand, hair[2] * strand, 0.3
    elif part == TEETH:
        red, green, blue, gloss = 0.72, 0.68, 0.58, 0.7
    else:
        red, green, blue, gloss = 0.50, 0.17, 0.16, 0.6
    if part in (TEETH, TONGUE) or inside > 0.5:
        z = _mix(table, DEPTH, i, j, k, a, b, c)
        occlusion = _clip(1.0 - 1.25 * _clip((lip_z - z) / 0.55, 0.0, 1.0), 0.06, 0.85)
    nx = _mix(table, NORMAL, i, j, k, a, b, c)
    ny = _mix(table, NORMAL + 1, i, j, k, a, b, c)
    nz = _mix(table, NORMAL + 2, i, j, k, a, b, c)
    scale = 1.0 / (math.sqrt(nx * nx + ny * ny + nz * nz) + 1e-9)
    if nz < 0 and part != SKIN:  # a thin surface seen from behind
        scale = -scale
    nx, ny, nz = nx * scale, ny * scale, nz * scale
    toward = nx * key[0] + ny * key[1] + nz * key[2]
    halfway = max(nx * half[0] + ny * half[1] + nz * half[2], 0.0)
    rim = max(nx * rim_way[0] + ny * rim_way[1] + nz * rim_way[2], 0.0) * rim_level * occlusion
    main = _clip((toward + 0.25) / 1.25, 0.0, 1.0) * (0.35 + 0.65 * occlusion)
    through = _clip(0.35 - abs(toward), 0.0, 1.0) if part == SKIN else 0.0  # translucent skin
    up = 0.5 + 0.5 * ny
    mirrored = _highlight(halfway, gloss * occlusion * key_colour[1], shine)
    return (
        _lit(red, 0.10 * through, main, rim, occlusion, up, key_colour[0], sky[0], ground[0])
        + mirrored,
        _lit(green, 0.02 * through, main, rim, occlusion, up, key_colour[1], sky[1], ground[1])
        + mirrored,
        _lit(blue, 0.01 * through, main, rim, occlusion, up, key_colour[2], sky[2], ground[2])
        + mirrored,
    )


@kernel
def _tone(value, curve, noise):  # type: ignore[no-untyped-def]
    """A linear value as a grey level 0..255, through the tone curve and with noise."""
    place = int(math.sqrt(max(value, 0.0)) * ((TONES - 1) / TONE_LIMIT) + 0.5)
    level = (curve[min(max(place, 0), TONES - 1)] + noise + HALF_STEP) >> TONE_SHIFT
    return min(max(level, 0), 255)


@kernel
def resolve(  # type: ignore[no-untyped-def]
    nearest, depth, table, lip_z, gaze, surface, light, background, curve, noise, noise_y,
    noise_x, out,
):  # fmt: skip
    """Shade what `raster.rasterise` found and write the picture.

    The samples of a pixel that belong to the same surface are shaded once, at their mean position.

    Args:
        nearest: (2H, 2W) int32 from `raster.rasterise`.
        depth: (2H, 2W) float32 from `raster.rasterise`.
        table: (N, 16) float32, see `Surface.vertices`.
        lip_z: depth of the lips; the mouth gets darker behind them.
        gaze: (3,) unit vector in the coordinates of the head.
        surface: see `Surface`.
        light: see `Light`.
        background: (H, W, 3) float32, linear.
        curve: (TONES,) int32, see `render.tone_curve`.
        noise: (256, 256, 3) int16, in 1/`TONE_STEPS` grey levels, repeated over the picture.
        noise_y: first row of the noise.
        noise_x: first column of the noise.
        out: (H, W, 3) uint8, overwritten with the picture.
    """
    triangles, parts, _, chart, strands, spokes, eye_centres, iris, hair, cloth = surface
    key, half, rim, key_colour, sky, ground, rim_level = light
    for y in range(out.shape[0]):
        for x in range(out.shape[1]):
            red, green, blue = 0.0, 0.0, 0.0
            empty, used = 0, 0
            for s in range(4):
                if used & (1 << s):
                    continue
                sy, sx = 2 * y + (s >> 1), 2 * x + (s & 1)
                t = nearest[sy, sx]
                if t < 0:
                    empty += 1
                    continue
                part, near = parts[t], depth[sy, sx]
                count, sum_x, sum_y = 1, sx, sy
                for other in range(s + 1, 4):
                    oy, ox = 2 * y + (other >> 1), 2 * x + (other & 1)
                    u = nearest[oy, ox]
                    if (
                        u >= 0
                        and not used & (1 << other)
                        and parts[u] == part
                        and abs(depth[oy, ox] - near) < DEPTH_TOLERANCE * near
                    ):
                        used |= 1 << other
                        count += 1
                        sum_x += ox
                        sum_y += oy
                r, g, b = _shade(
                    part, triangles[t, 0], triangles[t, 1], triangles[t, 2], sum_x / count,
                    sum_y / count, table, lip_z, gaze, chart, strands, spokes, eye_centres, iris,
                    hair, cloth, key, half, rim, key_colour, sky, ground, rim_level,
                )  # fmt: skip
                red += count * r
                green += count * g
                blue += count * b
            if empty:
                red += empty * background[y, x, 0]
                green += empty * background[y, x, 1]
                blue += empty * background[y, x, 2]
            ny, nx = (y + noise_y) & 255, (x + noise_x) & 255
            out[y, x, 0] = _tone(red * 0.25, curve, noise[ny, nx, 0])
            out[y, x, 1] = _tone(green * 0.25, curve, noise[ny, nx, 1])
            out[y, x, 2] = _tone(blue * 0.25, curve, noise[ny, nx, 2])
