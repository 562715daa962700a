"""The 68 points taken from MediaPipe's mesh are in iBUG order."""

from __future__ import annotations

import numpy as np
import pytest

from avsep.faces.geometry import apply, similarity
from avsep.faces.ibug68 import JAW, MEDIAPIPE_INDEX, MOUTH, NOSE_TIP, STABLE
from avsep.faces.pose import inter_ocular
from tests.support.face_scene import GOLDEN

# The point that a mirror makes of each point, from the drawing of the 68 points.
MIRROR = (
    list(range(16, -1, -1))
    + list(range(26, 16, -1))
    + [27, 28, 29, 30, 35, 34, 33, 32, 31]
    + [45, 44, 43, 42, 47, 46, 39, 38, 37, 36, 41, 40]
    + [54, 53, 52, 51, 50, 49, 48, 59, 58, 57, 56, 55]
    + [64, 63, 62, 61, 60, 67, 66, 65]
)


def heads() -> np.ndarray:
    with np.load(GOLDEN) as golden:
        return golden["mesh"].astype(np.float64)[:, MEDIAPIPE_INDEX]


def test_every_point_is_taken_once() -> None:
    assert MEDIAPIPE_INDEX.shape == (68,)
    assert len(set(MEDIAPIPE_INDEX.tolist())) == 68


@pytest.mark.parametrize(("first", "limit"), [(0, 0.09), (31, 0.03)], ids=["all", "inner face"])
def test_mirrored_heads_match_point_by_point(first: int, limit: float) -> None:
    points = heads()[:, :, :2]
    mirrored = points[:, MIRROR] * [-1, 1]
    away = []
    for own, other in zip(points, mirrored, strict=True):
        fitted = apply(similarity(other[first:], own[first:])[None], other[None])[0]
        away.append(np.hypot(*(fitted - own).T) / inter_ocular(own[None])[0])
    # Heads are turned and faces uneven, but in the middle over ten of them little is left.
    assert np.median(away, axis=0)[first:].max() < limit


def test_parts_of_the_face_are_where_they_belong() -> None:
    points = heads()[5]
    x, y = points[:, 0], points[:, 1]
    assert (np.diff(x[JAW]) > 0).all()  # the jaw runs from the picture's left to its right
    assert y[JAW].argmax() == 8
    assert (np.diff(x[17:27]) > 0).all()  # so do the brows
    assert (np.diff(y[27:31]) > 0).all()  # the bridge of the nose runs down
    assert points[NOSE_TIP, 2] == points[:, 2].min()  # MediaPipe's z: the tip is nearest
    assert (np.diff(x[31:36]) > 0).all()
    assert x[36] < x[39] < x[42] < x[45]
    for upper, lower in ((37, 41), (38, 40), (43, 47), (44, 46), (51, 57), (62, 66)):
        assert y[upper] < y[lower]
        assert abs(x[upper] - x[lower]) < 0.06 * (x[45] - x[36])
    mouth = x[MOUTH]
    assert mouth.argmin() == 0
    assert mouth.argmax() == 6
    assert (np.diff(x[48:55]) > 0).all()
    assert (np.diff(x[54:60]) < 0).all()
    assert (np.diff(x[60:65]) > 0).all()
    assert (np.diff(x[64:68]) < 0).all()
    assert y[list(STABLE)].argmax() == 0
