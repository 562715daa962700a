"""The face-alignment backend: weights are checked, boxes and heatmaps become points."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from avsep.errors import UsageError
from avsep.faces.backends import create, fan, s3fd
from avsep.faces.backends.face_alignment import (
    BoxRegion,
    FaceAlignmentBackend,
    FaceAlignmentNetworks,
    Networks,
)
from avsep.faces.backends.fan_weights import (
    DEPTH,
    FAN_3D,
    S3FD,
    find_weights,
    load_state,
    weights_folder,
)
from avsep.faces.config import FacesConfig
from avsep.faces.engine.local import LocalRunner
from avsep.faces.extraction import extract_faces
from tests.support.face_scene import FACE

SIDE = 80  # of the drawn face's box, in pixels
TARGETS = torch.tensor(FACE[:, :2] + 0.5, dtype=torch.float32)  # (68, 2), 0..1 over the box


def picture(x: int, y: int, size: tuple[int, int] = (240, 200)) -> np.ndarray:
    """A dark picture with a face whose red and green tell the place within it, from 0 to 1.

    Its box of 80 pixels is centred on (x, y), up to half a pixel.
    """
    frame = np.zeros((size[1], size[0], 3), np.uint8)
    ramp = np.rint((np.arange(SIDE) + 0.5) / SIDE * 255).astype(np.uint8)
    rows = slice(y - SIDE // 2, y + SIDE // 2)
    columns = slice(x - SIDE // 2, x + SIDE // 2)
    frame[rows, columns] = np.dstack(
        [np.tile(ramp, (SIDE, 1)), np.tile(ramp[:, None], (1, SIDE)), np.full((SIDE, SIDE), 255)]
    )
    return frame


def expected_points(x: int, y: int) -> np.ndarray:
    """Where the points of the face of `picture` are, (68, 2)."""
    return FACE[:, :2] * SIDE + np.array([x, y]) - 0.5


def fake_detector(batch: torch.Tensor) -> list[torch.Tensor]:
    """S3FD's outputs for the box of the blue pixels, from the picture itself."""
    blue = batch[0, 0] + s3fd.MEAN_BGR[0]
    rows, columns = torch.nonzero(blue > 128, as_tuple=True)
    low = torch.stack([columns.min(), rows.min()]).float()
    high = torch.stack([columns.max(), rows.max()]).float() + 1
    outputs: list[torch.Tensor] = []
    for level in range(6):
        stride = 4 * 2**level
        height, width = -(-batch.shape[2] // stride), -(-batch.shape[3] // stride)
        score, offset = torch.zeros(1, 2, height, width), torch.zeros(1, 4, height, width)
        score[:, 0] = 5.0
        if level == 2:
            centre, side = (low + high) / 2, 4 * stride
            cell = (centre / stride).long()
            prior = cell * stride + stride / 2
            score[0, :, cell[1], cell[0]] = torch.tensor([0.0, 3.0])
            offset[0, :2, cell[1], cell[0]] = (centre - prior) / (0.1 * side)
            offset[0, 2:, cell[1], cell[0]] = torch.log((high - low) / side) / 0.2
        outputs += [score, offset]
    return outputs


def fake_alignment(inputs: torch.Tensor) -> list[torch.Tensor]:
    """Heatmaps that peak where the crop's red and green tell the place of each point."""
    cells = torch.nn.functional.avg_pool2d(inputs, 4)
    place, blue = cells[:, :2].flatten(2), cells[:, 2].flatten(1)
    away = ((TARGETS[None, :, :, None] - place[:, None]) ** 2).sum(2) * 400
    maps = torch.exp(-away) * (blue[:, None] > 0.95)
    shape = (len(inputs), 68, 64, 64)
    return [torch.zeros(shape), maps.reshape(shape)]


def fake_depth(marked: torch.Tensor) -> torch.Tensor:
    """The row of each mark, as its depth."""
    rows = torch.arange(256.0)[:, None]
    marks = marked[:, 3:]
    return (marks * rows).sum((2, 3)) / marks.sum((2, 3)).clamp(min=1e-6)


@pytest.fixture
def backend() -> Iterator[FaceAlignmentBackend]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    networks = Networks(
        detector=fake_detector, alignment=fake_alignment, depth=fake_depth, mirror=None
    )
    runner = LocalRunner(FaceAlignmentNetworks(networks, "cpu", batch=4))
    yield FaceAlignmentBackend(runner, window=4)
    torch.set_num_threads(threads)


def test_box_of_the_detector_is_the_face(backend: FaceAlignmentBackend) -> None:
    (found,) = backend.detect(picture(120, 100), 32)  # 32: without shrinking
    assert found.score > 0.9
    np.testing.assert_allclose([found.x, found.y, found.side], [120, 100, SIDE], atol=1e-3)
    (shrunk,) = backend.detect(picture(120, 100), 48)
    np.testing.assert_allclose([shrunk.x, shrunk.y, shrunk.side], [120, 100, SIDE], atol=2)


def test_points_come_back_in_the_source_and_depth_in_its_pixels(
    backend: FaceAlignmentBackend,
) -> None:
    region = BoxRegion(x=110, y=90, side=150)
    (estimate,) = backend.landmarks([picture(120, 100)], [region])
    inner = np.abs(FACE[:, :2]).max(axis=1) < 0.45  # at its edge the drawn face gives no peak
    away = estimate.points[inner, :2] - expected_points(120, 100)[inner]
    cell = 150 / 64
    assert np.abs(away).max() < 0.6 * cell
    # The network was trained with crops and peaks that differ by up to a pixel of the crop.
    assert np.abs(away.mean(axis=0)).max() < 0.6
    # The depth network saw each mark in its row; depth is scaled as x and y are.
    rows = (estimate.points[:, 1] - (90 - 75)) * 256 / 150
    np.testing.assert_allclose(estimate.points[:, 2] * 256 / 150, rows, atol=3)
    assert 0.5 < estimate.score <= 1


@pytest.mark.slow
def test_faces_of_other_clips_in_a_batch_change_nothing(backend: FaceAlignmentBackend) -> None:
    pictures = [picture(100 + 7 * n, 90 + n, (240 + 10 * n, 200)) for n in range(6)]
    regions = [BoxRegion(x=98 + 7 * n, y=88, side=150 + n) for n in range(6)]
    together = backend.landmarks(pictures, regions)
    for one, frame, region in zip(together, pictures, regions, strict=True):
        (alone,) = backend.landmarks([frame], [region])
        assert alone.points.tobytes() == one.points.tobytes()
        assert alone.score == one.score


@pytest.mark.slow
def test_region_keeps_its_relation_to_the_landmarks(backend: FaceAlignmentBackend) -> None:
    first, second = picture(120, 100), picture(150, 90)
    (found,) = backend.detect(first, 32)
    (one,) = backend.landmarks([first], [found.region])
    assert (one.region.x, one.region.y) == pytest.approx((found.region.x, found.region.y))
    assert one.region.side == pytest.approx(found.region.side)
    (two,) = backend.landmarks([second], [one.region])
    assert two.region.x - one.region.x == pytest.approx(30, abs=2)
    assert two.region.y - one.region.y == pytest.approx(-10, abs=2)
    assert two.region.side == pytest.approx(one.region.side, rel=0.05)


@pytest.mark.slow
def test_faces_are_tracked_in_batches(backend: FaceAlignmentBackend) -> None:
    frames = [picture(100 + 2 * i, 100) for i in range(8)]
    config = FacesConfig(min_track_frames=5, min_face_px=32)
    (sample,) = extract_faces(iter(frames), config, backend)
    assert sample.span == (0, 8)
    assert sample.lips.shape == (8, 96, 96)


def test_peak_moves_a_quarter_cell_to_its_higher_neighbour() -> None:
    maps = torch.zeros(1, 68, 64, 64)
    maps[0, :, 20, 30], maps[0, :, 20, 31], maps[0, :, 19, 30] = 1.0, 0.5, 0.2
    maps[0, 1] = 0
    maps[0, 1, 0, 63] = 1.0  # at the border nothing is known of the other side
    place, score = fan.peaks(maps)
    assert place[0, 0].tolist() == [30.75, 20.25]
    assert place[0, 1].tolist() == [63.5, 0.5]
    assert score[0, 0] == 1.0


def test_mirrored_pass_is_averaged() -> None:
    inputs = torch.rand(1, 3, 256, 256)

    def network(pixels: torch.Tensor) -> torch.Tensor:
        return pixels[:, :2, ::4, ::4]

    maps = fan.heatmaps(network, lambda mirrored: mirrored.flip(-1), inputs)
    expected = (network(inputs) + network(inputs.flip(-1)).flip(-1)) / 2
    assert torch.allclose(maps, expected)


def test_boxes_equal_the_decoding_of_the_package() -> None:
    detect = pytest.importorskip("face_alignment.detection.sfd.detect", reason="extra `faces`")
    generator = torch.Generator().manual_seed(1)
    outputs: list[torch.Tensor] = []
    for level in range(6):
        size = max(1, 24 >> level)
        outputs += [
            torch.randn(1, 2, size, size, generator=generator)
            - torch.tensor([[0.0, 2.0]])[..., None, None],
            torch.randn(1, 4, size, size, generator=generator),
        ]
    ready = [torch.softmax(o, dim=1) if i % 2 == 0 else o for i, o in enumerate(outputs)]
    theirs = detect.get_predictions([o.numpy() for o in ready], 1)[0]
    ours = s3fd.boxes(outputs)
    assert len(ours) > 10
    for row in ours:
        assert np.abs(theirs - row).max(axis=1).min() < 1e-3


def test_missing_weights_are_named_with_their_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(UsageError) as error:
        create("face_alignment")
    message = str(error.value)
    for name in (S3FD, FAN_3D, DEPTH):
        assert name in message
    assert str(tmp_path / "hub" / "checkpoints") in message
    with pytest.raises(UsageError, match="2DFAN4"):
        create("face_alignment", three_d=False, weights=str(tmp_path))


def test_weights_that_are_not_what_their_name_says_are_refused(tmp_path: Path) -> None:
    (tmp_path / S3FD).write_bytes(b"something else")
    with pytest.raises(UsageError, match="damaged or another file"):
        find_weights([S3FD], str(tmp_path))
    content = b"weights"
    name = f"net-{hashlib.sha256(content).hexdigest()[:10]}.pth"
    (tmp_path / name).write_bytes(content)
    assert find_weights([name], str(tmp_path)) == [tmp_path / name]


def test_weights_are_found_where_the_hub_keeps_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TORCH_HOME", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", "/cache")
    assert weights_folder() == Path("/cache/torch/hub/checkpoints")
    monkeypatch.setenv("TORCH_HOME", "/home/torch")
    assert weights_folder() == Path("/home/torch/hub/checkpoints")
    assert weights_folder("/mine") == Path("/mine")


def test_weights_that_would_run_code_are_refused(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[object, Sequence[str]]:
            return print, ("code was run",)

    torch.save(Evil(), tmp_path / "evil.pth")
    with pytest.raises(UsageError, match="cannot be read as plain weights"):
        load_state(tmp_path / "evil.pth", "cpu")
    torch.save({"state_dict": {"module.a": torch.ones(2)}, "epoch": 3}, tmp_path / "good.pth")
    assert list(load_state(tmp_path / "good.pth", "cpu")) == ["a"]
