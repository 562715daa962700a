"""The inner loops of the renderer that find what is visible: deform, project, rasterise.

N vertices, M triangles. Screen x points to the right and y down, in samples. Depth is stored as its
inverse, so larger values are nearer.
"""

from __future__ import annotations

import math

import numpy as np

from avsep.corpora.demo.kernel import kernel


@kernel
def deform(rest, ends, index, delta, weights, out):  # type: ignore[no-untyped-def]
    """Write `rest` (N, 3) plus the weighted sparse deltas of U units into `out` (N, 3)."""
    for i in range(rest.shape[0]):
        for k in range(3):
            out[i, k] = rest[i, k]
    for unit in range(weights.shape[0]):
        amount = weights[unit]
        if amount == 0:
            continue
        for k in range(ends[unit], ends[unit + 1]):
            i = index[k]
            out[i, 0] += amount * delta[k, 0]
            out[i, 1] += amount * delta[k, 1]
            out[i, 2] += amount * delta[k, 2]


@kernel
def turn(vertices, pivot, follow, rotation):  # type: ignore[no-untyped-def]
    """Rotate `vertices` (N, 3) about `pivot` in place, each by its share `follow` (N,)."""
    for i in range(vertices.shape[0]):
        x, y, z = vertices[i, 0] - pivot[0], vertices[i, 1] - pivot[1], vertices[i, 2] - pivot[2]
        for k in range(3):
            goal = rotation[k, 0] * x + rotation[k, 1] * y + rotation[k, 2] * z + pivot[k]
            vertices[i, k] += follow[i] * (goal - vertices[i, k])


@kernel
def project(vertices, distance, focal, shift_x, shift_y, side, out):  # type: ignore[no-untyped-def]
    """Write screen x, screen y and inverse depth of `vertices` (N, 3) into `out` (N, 3).

    The camera is at z = `distance` and looks along -z; `focal` and `side` are in samples.
    """
    for i in range(vertices.shape[0]):
        near = 1.0 / (distance - vertices[i, 2])
        out[i, 0] = 0.5 * side + focal * (vertices[i, 0] + shift_x) * near
        out[i, 1] = 0.5 * side - focal * (vertices[i, 1] + shift_y) * near
        out[i, 2] = near


@kernel
def normals(vertices, triangles, weld, total, out):  # type: ignore[no-untyped-def]
    """Write unit normals of `vertices` (N, 3) into `out` (N, 3), smooth over welded vertices.

    `total` (number of welds, 3) float64 is overwritten.
    """
    for i in range(total.shape[0]):
        for k in range(3):
            total[i, k] = 0
    for t in range(triangles.shape[0]):
        a, b, c = triangles[t, 0], triangles[t, 1], triangles[t, 2]
        ux, uy = vertices[b, 0] - vertices[a, 0], vertices[b, 1] - vertices[a, 1]
        vx, vy = vertices[c, 0] - vertices[a, 0], vertices[c, 1] - vertices[a, 1]
        uz, vz = vertices[b, 2] - vertices[a, 2], vertices[c, 2] - vertices[a, 2]
        nx, ny, nz = uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx
        for i in (weld[a], weld[b], weld[c]):
            total[i, 0] += nx
            total[i, 1] += ny
            total[i, 2] += nz
    for i in range(total.shape[0]):
        x, y, z = total[i, 0], total[i, 1], total[i, 2]
        scale = 1.0 / (math.sqrt(x * x + y * y + z * z) + 1e-12)
        total[i, 0] = x * scale
        total[i, 1] = y * scale
        total[i, 2] = z * scale
    for i in range(out.shape[0]):
        for k in range(3):
            out[i, k] = total[weld[i], k]


@kernel
def rasterise(screen, triangles, one_sided, nearest, depth):  # type: ignore[no-untyped-def]
    """Find the nearest triangle at every sample.

    Args:
        screen: (N, 3) from `project`.
        triangles: (M, 3) int32.
        one_sided: (M,) bool, whether to skip a triangle that is seen from behind.
        nearest: (H, W) int32, overwritten with the number of the triangle, -1 for none.
        depth: (H, W) float32, overwritten with its inverse depth, 0 for none.
    """
    height, width = nearest.shape
    for y in range(height):
        for x in range(width):
            nearest[y, x] = -1
            depth[y, x] = 0
    for t in range(triangles.shape[0]):
        a, b, c = triangles[t, 0], triangles[t, 1], triangles[t, 2]
        x0, y0, z0 = float(screen[a, 0]), float(screen[a, 1]), float(screen[a, 2])
        x1, y1, x2, y2 = screen[b, 0] - x0, screen[b, 1] - y0, screen[c, 0] - x0, screen[c, 1] - y0
        area = x1 * y2 - x2 * y1
        if abs(area) < 1e-9 or (one_sided[t] and area > 0):
            continue
        left = max(math.ceil(x0 + min(0.0, x1, x2)), 0)
        right = min(math.floor(x0 + max(0.0, x1, x2)), width - 1)
        top = max(math.ceil(y0 + min(0.0, y1, y2)), 0)
        bottom = min(math.floor(y0 + max(0.0, y1, y2)), height - 1)
        inverse = 1.0 / area
        step1, step2 = y2 * inverse, -y1 * inverse
        z1, z2 = screen[b, 2] - z0, screen[c, 2] - z0
        slope = step1 * z1 + step2 * z2
        for y in range(top, bottom + 1):
            down = y - y0
            first = (-x2 * down) * inverse - x0 * step1
            second = (x1 * down) * inverse - x0 * step2
            origin = z0 + first * z1 + second * z2
            for x in range(left, right + 1):
                w1 = first + x * step1
                w2 = second + x * step2
                if w1 < -1e-6 or w2 < -1e-6 or w1 + w2 > 1.000001:
                    continue
                z = np.float32(origin + x * slope)
                if z > depth[y, x]:
                    depth[y, x] = z
                    nearest[y, x] = t
