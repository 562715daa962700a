"""Boxes and points equal those of face-alignment's own call on the same pictures."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from avsep.errors import UsageError
from avsep.extraction.config import ExtractionConfig
from avsep.faces.backends import Region, fan, s3fd
from avsep.faces.backends.face_alignment import (
    FaceAlignmentBackend,
    FaceAlignmentNetworks,
    Networks,
)
from avsep.faces.engine.frames import PackedFrames
from avsep.faces.engine.local import LocalRunner

api: Any = pytest.importorskip("face_alignment.api", reason="extra `faces`")
package: Any = pytest.importorskip("face_alignment.utils", reason="extra `faces`")


def coloured(size: tuple[int, int], left: int, top: int, side: int, seed: int) -> np.ndarray:
    """A dark, noisy picture (H, W, 3) with a square whose red and green tell the place in it."""
    frame = np.random.default_rng(seed).integers(0, 60, (*size, 3)).astype(np.uint8)
    ramp = np.rint((np.arange(side) + 0.5) / side * 255).astype(np.uint8)
    columns, rows = np.meshgrid(ramp, ramp)
    face = np.dstack([columns, rows, np.full_like(rows, 255)])
    seen = face[max(0, -top) : size[0] - top, max(0, -left) : size[1] - left]
    y, x = max(0, top), max(0, left)
    frame[y : y + len(seen), x : x + seen.shape[1]] = seen
    return frame


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.slow
def test_boxes_and_points_equal_the_call_of_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    from face_alignment.detection.sfd.sfd_detector import SFDDetector

    from tests.support.stand_in_fan import depth_network, detection_network, landmark_network

    for name in ("transform_np", "_get_preds_fromhm"):  # compiling them would take eight seconds
        monkeypatch.setattr(package, name, getattr(package, name).py_func)
    detector, alignment, depth = detection_network(), landmark_network(), depth_network()
    theirs = object.__new__(api.FaceAlignment)  # without its download and its compilation
    theirs.__dict__.update(
        device="cpu", flip_input=True, landmarks_type=api.LandmarksType.THREE_D, verbose=False,
        dtype=torch.float32, max_batch_size=1, face_alignment_net=alignment,
        depth_prediciton_net=depth, face_detector=object.__new__(SFDDetector),
    )  # fmt: skip
    theirs.face_detector.__dict__.update(
        device="cpu", verbose=False, filter_threshold=0.5, face_detector=detector
    )
    networks = Networks(
        detector=detector,
        alignment=alignment,
        depth=depth,
        mirror=lambda maps: package.flip(maps, is_label=True),
    )
    runner = LocalRunner(FaceAlignmentNetworks(networks, "cpu", batch=1))
    ours = FaceAlignmentBackend(runner)
    for frame in (coloured((150, 192), -20, 10, 110, 1), coloured((224, 200), 60, 70, 130, 2)):
        points, _, boxes = theirs.get_landmarks_from_image(frame, return_bboxes=True)
        np.testing.assert_allclose(runner.find(frame, 32), np.array(boxes), atol=1e-3)
        regions = [face.region for face in ours.detect(frame, 60)]
        found = ours.landmarks([frame] * len(regions), regions)
        assert len(found) == len(points)
        for one, other in zip(found, points, strict=True):
            assert len(np.unique(other[:, :2], axis=0)) > 35, "the points tell something"
            np.testing.assert_array_equal(one.points[:, :2], other[:, :2])
            np.testing.assert_allclose(one.points[:, 2], other[:, 2], atol=1e-6)


def test_overlapping_boxes_are_dropped_as_in_the_package() -> None:
    bbox = pytest.importorskip("face_alignment.detection.sfd.bbox")
    rng = np.random.default_rng(4)
    corners, sizes = rng.uniform(0, 60, (300, 2)), rng.uniform(2, 12, (300, 2))
    scores = np.sort(rng.uniform(0.5, 1, (300, 1)), axis=0)[::-1]
    found = np.concatenate([corners, corners + sizes, scores], axis=1)
    np.testing.assert_array_equal(s3fd.suppress(found), found[bbox.nms(found, 0.3)])


@pytest.mark.parametrize("sides", [(40, 90), (256, 255), (300, 700)])
def test_crops_have_the_bytes_of_the_package(sides: tuple[int, int]) -> None:
    rng = np.random.default_rng(sides[0])
    frames = [rng.integers(0, 256, (260, 330, 3)).astype(np.uint8) for _ in range(3)]
    regions, numbers, expected = [], [2, 0, 1, 2], []
    for number in numbers:
        centre, side = rng.uniform(-20, 300, 2), rng.uniform(*sorted(sides))
        regions.append([*centre, side])
        expected.append(package.crop(frames[number], centre, side / 200))
    windows = fan.crop_windows(np.array(regions))
    crops = PackedFrames(frames, "cpu").resized(numbers, windows, fan.INPUT)
    np.testing.assert_array_equal(crops.permute(0, 2, 3, 1).numpy(), np.array(expected))


def test_windows_are_resized_to_the_bytes_of_opencv() -> None:
    rng = np.random.default_rng(0)
    for width, height in ((1, 1), (1, 9), (64, 3), (17, 64), (65, 200)):
        picture = rng.integers(0, 256, (height, width, 3)).astype(np.uint8)
        window = np.array([[[0, width - 1], [0, height - 1]]], np.float64)
        ours = PackedFrames([picture], "cpu").resized([0], window, 64)[0].permute(1, 2, 0)
        np.testing.assert_array_equal(ours.numpy(), cv2.resize(picture, (64, 64)))


def test_marks_for_the_depth_network_equal_the_packages() -> None:
    rng = np.random.default_rng(3)
    place = np.rint(rng.uniform(0.5, 63.5, (1, 68, 2)) * 4) / 4
    place[0, :12, 0] = place[0, 12:24, 1] = np.linspace(0.5, 3.25, 12)  # near the first lines
    place[0, 24:36, 0] = np.linspace(60.5, 63.5, 12)
    marks = fan.blobs(torch.as_tensor(place, dtype=torch.float32))[0].numpy()
    for ours, (x, y) in zip(marks, place[0] * 4, strict=True):
        theirs = package.draw_gaussian(np.zeros((256, 256), np.float32), (x, y), 2)
        np.testing.assert_allclose(ours, theirs, atol=1e-6)


def test_points_keep_fractions_of_a_pixel_where_the_settings_say_so() -> None:
    rows = SimpleNamespace(estimate=lambda *_: np.concatenate([np.full((1, 204), 20.3), [[1]]], 1))
    region = Region(x=100, y=60.5, side=130)
    for whole, x in ((True, 76.0), (False, 35 + 20.3 * 130 / 64)):
        backend = FaceAlignmentBackend(rows, whole_pixels=whole)  # type: ignore[arg-type]
        (found,) = backend.landmarks([np.zeros((2, 2, 3), np.uint8)], [region])
        assert found.points[0, 0] == pytest.approx(x)
        assert found.points[0, 2] == pytest.approx(20.3 * 130 / 256)
    settings = ExtractionConfig(backend="face_alignment")
    assert settings.backend_options["whole_pixels"] is True, "it decides the samples"
    with pytest.raises((UsageError, ValueError), match="whole_pixels is 'no'"):
        ExtractionConfig(backend="face_alignment", backend_options={"whole_pixels": "no"})
