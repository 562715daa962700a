"""The mouth crop lands on the pixel, whatever the size, place and turn of the face."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from avsep.faces.config import FacesConfig
from avsep.faces.crops import CROP_SCALE, grey_crop
from avsep.faces.geometry import (
    analysis_affine,
    analysis_squares,
    apply,
    compose,
    face_boxes,
    to_analysis,
)
from avsep.faces.ibug68 import MOUTH, STABLE
from avsep.faces.mouth import MEAN_FACE, crop_corners, mean_face_transforms
from avsep.faces.mouth_cropper import MouthCropper
from tests.support.face_scene import FACE


def place(scale: float, angle: float, x: float, y: float) -> np.ndarray:
    """The template face, turned, scaled and moved: (68, 3)."""
    cos, sin = np.cos(angle), np.sin(angle)
    points = FACE.copy()
    points[:, :2] = FACE[:, :2] @ np.array([[cos, sin], [-sin, cos]])
    return points * scale + np.array([x, y, 0])


def dotted(points: np.ndarray, size: tuple[int, int], radius: float) -> np.ndarray:
    """A grey picture with a smooth bright dot at each mouth corner, drawn below a pixel's width."""
    y, x = np.mgrid[: size[1], : size[0]]
    picture = np.full((size[1], size[0]), 40.0)
    for corner in points[[48, 54], :2]:
        picture += 200 * np.exp(-((x - corner[0]) ** 2 + (y - corner[1]) ** 2) / (2 * radius**2))
    return np.repeat(np.clip(picture, 0, 255).astype(np.uint8)[:, :, None], 3, axis=2)


def dots(crop: np.ndarray) -> np.ndarray:
    """Centres of the left and right dot in a crop, in pixels."""
    light = np.clip(crop.astype(float) - 60, 0, None)
    centres = []
    for half in (slice(0, 48), slice(48, 96)):
        part = light[:, half]
        y, x = np.mgrid[: part.shape[0], : part.shape[1]]
        centres.append([(part * x).sum() / part.sum() + half.start, (part * y).sum() / part.sum()])
    return np.array(centres)


@pytest.mark.parametrize(
    ("scale", "angle", "size"),
    [
        (60.0, 0.0, (224, 224)),
        (75.0, 0.3, (320, 240)),
        (150.0, -0.2, (640, 480)),
        (310.0, 0.1, (1280, 960)),  # so large that the picture around the face is shrunk first
    ],
)
def test_crop_shows_the_mouth_where_the_stored_transform_says(
    scale: float, angle: float, size: tuple[int, int]
) -> None:
    points = place(scale, angle, size[0] / 2 + 0.3, size[1] / 2 - 0.4)
    frame = dotted(points, size, radius=scale / 18)
    cropper = MouthCropper(FacesConfig())
    cropper.push(grey_crop(frame, face_boxes(points[None])[0], CROP_SCALE, 320))
    block = cropper.finish(points[None].astype(np.float32))
    corners = points[None, [48, 54], :2]
    analysis = apply(analysis_affine(block.squares), corners)
    expected = apply(block.to_mean_face.astype(float), analysis)[0] - block.crop_xy[0]
    np.testing.assert_allclose(dots(block.lips[0]), expected, atol=0.15)
    assert np.abs(expected.mean(axis=0) - 47.5).max() < 4  # the mouth is in the middle


def test_stable_points_of_a_face_like_the_mean_face_lie_on_it() -> None:
    points = place(80, 0.4, 150, 130)
    to_mean = np.eye(2, 3) + np.array([[0, 0, 7.0], [0, 0, -3.0]])
    points[list(STABLE), :2] = apply(to_mean[None], MEAN_FACE[None])[0]
    analysis = to_analysis(points[None], analysis_squares(face_boxes(points[None])))
    transform = mean_face_transforms(analysis, 6, start=0, stop=1, total=1)
    mapped = apply(transform.astype(float), analysis[:, list(STABLE), :2])[0]
    np.testing.assert_allclose(mapped, MEAN_FACE, atol=1e-3)


def test_transform_uses_the_mean_of_six_frames_on_each_side() -> None:
    rng = np.random.default_rng(1)
    points = np.tile(FACE * 60 + 112, (21, 1, 1)) + rng.normal(0, 1, (21, 68, 3))
    whole = mean_face_transforms(points, 6, start=10, stop=11, total=21)
    by_hand = mean_face_transforms(points[4:17].mean(axis=0)[None], 6, start=0, stop=1, total=1)
    np.testing.assert_allclose(whole, by_hand, rtol=1e-6)
    np.testing.assert_allclose(
        mean_face_transforms(points, 6, start=2, stop=3, total=21),
        mean_face_transforms(points[:5].mean(axis=0)[None], 6, start=0, stop=1, total=1),
        rtol=1e-6,
    )


def test_corner_follows_the_mouth_of_its_frame_and_stays_inside() -> None:
    identity = np.eye(2, 3)[None].repeat(3, axis=0)
    points = np.zeros((3, 68, 3))
    points[0, MOUTH, :2] = [128.4, 180.6]
    points[1, MOUTH, :2] = [20.0, 250.0]
    points[2, MOUTH, :2] = [250.0, 20.0]
    corners = crop_corners(points, identity)
    assert corners.dtype == np.float32
    np.testing.assert_allclose(corners, [[80.4, 132.6], [0, 160], [160, 0]], atol=1e-5)


def test_mouth_of_a_face_that_moves_by_parts_of_a_pixel_stays_in_its_place() -> None:
    """Rounded to whole pixels, the dots jump by 0.29 pixels in each direction."""
    frames = 60
    way = np.stack([0.37 * np.arange(frames), 0.23 * np.arange(frames)], axis=1)
    points = np.stack([place(70.0, 0.1, 100 + x, 105 + y) for x, y in way])
    # The mouth alone moves too, in a way that the transform of the face does not follow.
    points[:, MOUTH, 0] += 1.5 * np.sin(np.arange(frames) / 5)[:, None]
    cropper = MouthCropper(FacesConfig())
    for one in points:
        frame = dotted(one, (224, 224), radius=4)
        cropper.push(grey_crop(frame, face_boxes(one[None])[0], CROP_SCALE, 320))
    block = cropper.finish(points.astype(np.float32))
    seen = np.stack([dots(crop) for crop in block.lips])
    assert seen.std(axis=0).max() < 0.06


def test_grey_crop_at_the_edge_keeps_its_coordinates() -> None:
    frame = np.zeros((100, 120, 3), np.uint8)
    frame[95, 3] = 255
    crop = grey_crop(frame, np.array([4.0, 96.0, 30.0]), CROP_SCALE, 320)
    y, x = np.argwhere(crop.image == crop.image.max())[0]
    np.testing.assert_allclose(crop.to_source @ [x, y, 1], [3, 95])


def test_shrunk_grey_crop_averages_and_keeps_its_coordinates() -> None:
    y, x = np.mgrid[:300, :300]
    frame = np.repeat(np.rint(x / 2 + y / 4).astype(np.uint8)[:, :, None], 3, axis=2)
    crop = grey_crop(frame, np.array([100.0, 100.0, 180.0]), 1.0, 60)
    assert max(crop.image.shape) <= 61
    for u, v in ((0, 0), (20, 30), (59, 59)):
        source_x, source_y = crop.to_source @ [u, v, 1]
        # Taking the corner of the averaged pixels for their middle would be 0.75 off.
        assert abs(float(crop.image[v, u]) - (source_x / 2 + source_y / 4)) <= 0.5


def test_mouth_cropper_gives_the_same_bits_in_blocks_as_in_one_pass() -> None:
    rng = np.random.default_rng(5)
    walk = np.cumsum(rng.normal(0, 0.8, (90, 1, 3)), axis=0)
    points = (FACE * 60 + 112 + walk + rng.normal(0, 0.3, (90, 68, 3))).astype(np.float32)
    frame = cv2.GaussianBlur(rng.integers(0, 255, (224, 224, 3), np.uint8), (0, 0), 3)
    crops = [grey_crop(frame, box, CROP_SCALE, 320) for box in face_boxes(points)]
    streamed, late = MouthCropper(FacesConfig()), MouthCropper(FacesConfig())
    for i, crop in enumerate(crops):
        streamed.push(crop)
        late.push(crop)
        streamed.advance(points[: i + 1])
    one, other = streamed.finish(points), late.finish(points)
    for name in ("points", "squares", "to_mean_face", "crop_xy", "lips"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))


def test_stored_transform_follows_from_the_stored_points() -> None:
    rng = np.random.default_rng(6)
    points = (FACE * 60 + 112 + rng.normal(0, 0.5, (40, 68, 3))).astype(np.float32)
    frame = np.zeros((224, 224, 3), np.uint8)
    cropper = MouthCropper(FacesConfig())
    for box in face_boxes(points):
        cropper.push(grey_crop(frame, box, CROP_SCALE, 320))
    block = cropper.finish(points)
    assert block.points.dtype == np.float16
    again = mean_face_transforms(block.points, 6, start=0, stop=40, total=40)
    np.testing.assert_array_equal(again, block.to_mean_face)
    np.testing.assert_array_equal(crop_corners(block.points, again), block.crop_xy)
    assert compose(again, analysis_affine(block.squares)).shape == (40, 2, 3)
