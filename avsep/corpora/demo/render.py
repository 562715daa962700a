"""Draw the frames of a posed head."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from avsep.corpora.demo import raster, shading
from avsep.corpora.demo.head import NECK, Head

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from avsep.corpora.demo.motion import Motion, Scene


class Renderer:
    """Draws one head. It reuses its buffers for each frame, so every thread needs its own."""

    def __init__(self, head: Head, size: int) -> None:
        """Allocate the buffers for pictures of `size` x `size` pixels."""
        self.head = head
        self.size = size
        side = size * shading.SUPERSAMPLING
        self._nearest = np.empty((side, side), np.int32)
        self._depth = np.empty((side, side), np.float32)
        self._vertices = np.empty_like(head.rest)
        self._table = head.surface.vertices.copy()
        self._screen = self._table[:, shading.SCREEN : shading.NORMAL]
        self._normals = self._table[:, shading.NORMAL : shading.DEPTH]
        self._totals = np.empty((int(head.weld.max()) + 1, 3))

    def frames(
        self, weights: NDArray[np.float64], motion: Motion, scene: Scene
    ) -> Iterator[tuple[NDArray[np.uint8], float]]:
        """Yield each picture (size, size, 3) uint8 RGB with the opening of the lips.

        The opening is the distance between the inner edges of the lips on the midline, in
        decimetres, after the face units move them and before the head turns.

        Args:
            weights: (frames, face units), see `visemes.unit_weights`.
            motion: curves of as many frames.
            scene: camera, light and background of the clip.
        """
        curve = tone_curve(scene.exposure)
        for i, frame_weights in enumerate(weights.astype(np.float32)):
            opening = self._pose(frame_weights, motion, i)
            picture = np.empty((self.size, self.size, 3), np.uint8)
            self._draw(motion, scene, curve, i, picture)
            yield picture, opening

    def openings(self, weights: NDArray[np.float64]) -> NDArray[np.float64]:
        """(frames,) the openings that `frames` yields, without drawing."""
        return np.array([self._deform(row) for row in weights.astype(np.float32)])

    def _deform(self, weights: NDArray[np.float32]) -> float:
        head, vertices = self.head, self._vertices
        raster.deform(
            head.rest, head.unit_ends, head.unit_index, head.unit_delta, weights, vertices
        )
        return float(vertices[head.upper_lip, 1]) - float(vertices[head.lower_lip, 1])

    def _pose(self, weights: NDArray[np.float32], motion: Motion, i: int) -> float:
        opening = self._deform(weights)
        rotation = _rotation(motion.yaw[i], motion.pitch[i], motion.roll[i])
        raster.turn(self._vertices, NECK, self.head.follow, rotation)
        return opening

    def _draw(
        self,
        motion: Motion,
        scene: Scene,
        curve: NDArray[np.int32],
        i: int,
        out: NDArray[np.uint8],
    ) -> None:
        head, surface, vertices = self.head, self.head.surface, self._vertices
        side = self.size * shading.SUPERSAMPLING
        self._table[:, shading.DEPTH] = vertices[:, 2]
        raster.project(
            vertices, scene.distance, scene.zoom * side, motion.shift_x[i], motion.shift_y[i],
            side, self._screen,
        )  # fmt: skip
        raster.rasterise(
            self._screen, surface.triangles, head.one_sided, self._nearest, self._depth
        )
        raster.normals(vertices, surface.triangles, head.weld, self._totals, self._normals)
        gaze = np.array([motion.gaze_x[i], motion.gaze_y[i], 1.0])
        gaze /= np.sqrt((gaze**2).sum())
        lip_z = (vertices[head.upper_lip, 2] + vertices[head.lower_lip, 2]) / 2
        noise_y, noise_x = scene.noise_yx[i]
        shading.resolve(
            self._nearest, self._depth, self._table, float(lip_z), gaze, surface, scene.light,
            scene.background, curve, scene.noise, noise_y, noise_x, out,
        )  # fmt: skip


def tone_curve(exposure: float) -> NDArray[np.int32]:
    """(TONES,) grey level times `TONE_STEPS`, indexed by the square root of the linear value."""
    root = np.arange(shading.TONES) * (shading.TONE_LIMIT / (shading.TONES - 1))
    linear = root**2 * exposure
    white = linear / (1 + 0.18 * linear)
    level = np.clip(white, 0, 1) ** (1 / 2.2) * 255
    return np.round(level * shading.TONE_STEPS).astype(np.int32)


def _rotation(yaw: float, pitch: float, roll: float) -> NDArray[np.float64]:
    """(3, 3) rotation by yaw, then pitch, then roll, in radians."""
    cos_y, sin_y = np.cos(yaw), np.sin(yaw)
    cos_p, sin_p = np.cos(pitch), np.sin(pitch)
    cos_r, sin_r = np.cos(roll), np.sin(roll)
    turn_y = np.array([[cos_y, 0, sin_y], [0, 1, 0], [-sin_y, 0, cos_y]])
    turn_p = np.array([[1, 0, 0], [0, cos_p, -sin_p], [0, sin_p, cos_p]])
    turn_r = np.array([[cos_r, -sin_r, 0], [sin_r, cos_r, 0], [0, 0, 1]])
    return turn_r @ turn_p @ turn_y
