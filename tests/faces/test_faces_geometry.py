"""Squares, transforms and windows of `avsep.faces.geometry`."""

from __future__ import annotations

import numpy as np
import pytest

from avsep.faces.geometry import (
    analysis_affine,
    analysis_squares,
    apply,
    box_iou,
    compose,
    face_boxes,
    similarity,
    to_analysis,
    window_mean,
)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(3)


def test_similarity_recovers_a_known_turn_scale_and_shift(rng: np.random.Generator) -> None:
    target = rng.normal(0, 40, (5, 2))
    angle, scale, shift = rng.uniform(-3, 3, 7), rng.uniform(0.2, 5, 7), rng.normal(0, 90, (7, 2))
    cos, sin = scale * np.cos(angle), scale * np.sin(angle)
    known = np.stack([cos, -sin, shift[:, 0], sin, cos, shift[:, 1]], axis=1).reshape(7, 2, 3)
    inverse = np.linalg.inv(np.concatenate([known, np.tile([[[0, 0, 1.0]]], (7, 1, 1))], axis=1))
    source = apply(inverse[:, :2], np.tile(target, (7, 1, 1)))
    np.testing.assert_allclose(similarity(source, target), known, atol=1e-9)


def test_similarity_is_the_least_squares_one_and_never_mirrors(rng: np.random.Generator) -> None:
    source, target = rng.normal(0, 10, (6, 2)), rng.normal(0, 10, (6, 2))
    best = similarity(source, target)
    assert np.linalg.det(best[:, :2]) > 0

    def error(matrix: np.ndarray) -> float:
        return float(((apply(matrix[None], source[None])[0] - target) ** 2).sum())

    for row in range(2):
        nudge = np.zeros((2, 3))
        nudge[row, 2] = 1e-3
        assert error(best + nudge) > error(best) < error(best - nudge)
    grown, turned = best.copy(), best.copy()
    grown[:, :2] *= 1.001
    turned[:, :2] = turned[:, :2] @ np.array([[1, -1e-3], [1e-3, 1]])
    centred = source - source.mean(axis=0)
    for other in (grown, turned):
        other[:, 2] = target.mean(axis=0) - other[:, :2] @ source.mean(axis=0)
        assert error(other) > error(best)
    assert np.abs(centred).max() > 0


def test_window_mean_neither_lags_nor_leads() -> None:
    line = np.arange(40.0)
    np.testing.assert_allclose(window_mean(line, 6, start=0, stop=40, total=40), line, atol=1e-12)


def test_window_mean_in_blocks_gives_the_same_bits_as_in_one_pass(
    rng: np.random.Generator,
) -> None:
    values = rng.normal(0, 1, (50, 3))
    whole = window_mean(values, 6, start=0, stop=50, total=50)
    # The middle block is made before the end of the track is known.
    middle = window_mean(values[4:36], 6, start=10, stop=30, first=4)
    np.testing.assert_array_equal(middle, whole[10:30])


def test_analysis_frame_puts_picture_edges_where_pixel_edges_are() -> None:
    # A square over the whole 448-pixel picture: its edges are the frame's edges, -0.5 and 223.5.
    square = np.array([[0.0, 0.0, 448.0]], np.float32)
    corners = np.zeros((1, 68, 3))
    corners[0, 0, :2] = -0.5
    corners[0, 1] = [447.5, 447.5, 10.0]
    mapped = to_analysis(corners, square)
    np.testing.assert_allclose(mapped[0, 0, :2], -0.5)
    np.testing.assert_allclose(mapped[0, 1], [223.5, 223.5, 5.0])


def test_analysis_affine_maps_as_to_analysis_does(rng: np.random.Generator) -> None:
    points = rng.uniform(0, 500, (4, 68, 3))
    squares = analysis_squares(face_boxes(points))
    mapped = to_analysis(points, squares)[:, :, :2]
    np.testing.assert_allclose(apply(analysis_affine(squares), points[:, :, :2]), mapped)


def test_analysis_square_is_centred_on_the_face_and_half_as_large_again(
    rng: np.random.Generator,
) -> None:
    points = rng.uniform(100, 300, (2, 68, 3))
    boxes = face_boxes(points)
    mapped = face_boxes(to_analysis(points, analysis_squares(boxes)))
    np.testing.assert_allclose(mapped[:, :2], (224 - 1) / 2, atol=1e-3)
    np.testing.assert_allclose(mapped[:, 2], 224 / 1.5, rtol=1e-5)


def test_compose_applies_the_inner_transform_first(rng: np.random.Generator) -> None:
    outer, inner, points = (rng.normal(0, 1, shape) for shape in ((3, 2, 3), (3, 2, 3), (3, 9, 2)))
    np.testing.assert_allclose(
        apply(compose(outer, inner), points), apply(outer, apply(inner, points)), atol=1e-12
    )


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        ([0, 0, 10], [0, 0, 10], 1.0),
        ([0, 0, 10], [5, 0, 10], 1 / 3),
        ([0, 0, 10], [0, 0, 5], 0.25),
        ([0, 0, 10], [10, 0, 10], 0.0),
        ([0, 0, 10], [20, 20, 10], 0.0),
    ],
)
def test_box_iou(a: list[float], b: list[float], expected: float) -> None:
    assert box_iou(np.array(a, float), np.array(b, float)) == pytest.approx(expected)
