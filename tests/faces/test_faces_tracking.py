"""Faces are tracked, bridged, split and ordered as promised, on drawn scenes."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np
import pytest

from avsep.faces.backends import Estimate, Region
from avsep.faces.config import FacesConfig
from avsep.faces.extraction import FaceTrackSample, extract_faces
from avsep.schema import DETECTED, INTERPOLATED, MISSING
from tests.support.face_scene import FACE, ColourBackend, Pose, background, draw

SIZE = (320, 240)
SHORT = FacesConfig(min_track_frames=5, max_gap=12)
CUTS_ALONE = replace(SHORT, same_face=-1.0)
LIKENESS_ALONE = replace(SHORT, cut_distance=1.0)


def scene(
    num_frames: int, poses: Callable[[int], Sequence[Pose]], seed: int = 0
) -> Iterator[np.ndarray]:
    picture = background(SIZE, seed)
    for i in range(num_frames):
        yield draw(picture, poses(i))


def spans(samples: Sequence[FaceTrackSample]) -> list[tuple[int, int]]:
    return [sample.span for sample in samples]


def centre_x(sample: FaceTrackSample) -> np.ndarray:
    """Centre of the analysis square, in pixels of the source."""
    box = sample.landmarks.box
    return (box[:, 0] + box[:, 2] / 2) * SIZE[0] - 0.5


def nose_x(sample: FaceTrackSample) -> np.ndarray:
    """The tip of the nose, in pixels of the source."""
    left, side = sample.landmarks.box[:, 0] * SIZE[0], sample.landmarks.box[:, 2] * SIZE[0]
    return left + (sample.landmarks.points[:, 30, 0].astype(float) + 0.5) * side / 224 - 0.5


def test_two_faces_are_two_tracks_from_left_to_right() -> None:
    poses = [Pose(1, 230, 120, 70), Pose(0, 90, 110, 80)]
    samples = extract_faces(scene(40, lambda i: poses), SHORT, ColourBackend())
    assert spans(samples) == [(0, 40), (0, 40)]
    assert centre_x(samples[0]).mean() == pytest.approx(90, abs=1)
    assert centre_x(samples[1]).mean() == pytest.approx(230, abs=1)
    for sample in samples:
        assert sample.lips.shape == (40, 96, 96)
        assert sample.lips.dtype == np.uint8
        assert sample.landmarks.points.shape == (40, 68, 3)
        assert sample.landmarks.points.dtype == np.float16
        assert (sample.landmarks.valid == DETECTED).all()
        assert sample.landmarks.crop_xy.dtype == np.float32
        assert sample.landmarks.to_mean_face.dtype == np.float32
        assert sample.landmarks.box.dtype == np.float32
        assert sample.scores["other_face_share"] == 1.0


def test_late_face_starts_at_the_next_detection_and_earlier_ones_come_first() -> None:
    def poses(i: int) -> list[Pose]:
        return [Pose(0, 230, 120, 70)] + ([Pose(1, 80, 120, 70)] if i >= 19 else [])

    backend = ColourBackend()
    samples = extract_faces(scene(50, poses), SHORT, backend)
    assert spans(samples) == [(0, 50), (24, 50)]
    assert backend.detections == 8  # frames 0, 8, .. 48: every eighth; and the survey of frame 0


def test_empty_picture_is_searched_often_and_gives_no_track() -> None:
    backend = ColourBackend()
    assert extract_faces(scene(20, lambda i: []), SHORT, backend) == []
    assert backend.detections == 11  # and the survey of frame 0
    assert extract_faces(iter([]), SHORT, backend) == []


def test_short_loss_is_bridged_by_a_straight_line_and_marked() -> None:
    def poses(i: int) -> list[Pose]:
        return [] if 20 <= i < 26 else [Pose(0, 100 + 2 * i, 120, 80)]

    (sample,) = extract_faces(scene(60, poses), SHORT, ColourBackend())
    assert sample.span == (0, 60)
    valid = sample.landmarks.valid
    assert (valid[20:26] == INTERPOLATED).all()
    assert (np.delete(valid, range(20, 26)) == DETECTED).all()
    assert (sample.landmarks.score[20:26] == 0).all()
    # A face that moves evenly is where it would have been.
    nose = nose_x(sample)
    np.testing.assert_allclose(nose - nose[0], 2 * np.arange(60), atol=0.2)
    assert sample.scores["missing_share"] == pytest.approx(0.1)
    assert sample.scores["longest_gap"] == 6


def test_long_loss_ends_the_track() -> None:
    def poses(i: int) -> list[Pose]:
        return [] if 20 <= i < 40 else [Pose(0, 150, 120, 80)]

    samples = extract_faces(scene(60, poses), SHORT, ColourBackend())
    assert spans(samples) == [(0, 20), (40, 60)]
    assert all((sample.landmarks.valid == DETECTED).all() for sample in samples)


def test_long_loss_is_held_and_marked_missing_with_long_gaps_hold() -> None:
    def poses(i: int) -> list[Pose]:
        return [] if 20 <= i < 40 else [Pose(0, 150, 120, 80)]

    config = FacesConfig(min_track_frames=5, max_gap=12, long_gaps="hold")
    (sample,) = extract_faces(scene(60, poses), config, ColourBackend())
    assert sample.span == (0, 60)
    assert (sample.landmarks.valid[20:40] == MISSING).all()
    np.testing.assert_array_equal(
        sample.landmarks.points[20:40], sample.landmarks.points[19:20].repeat(20, axis=0)
    )


def test_loss_at_the_end_is_cut_off() -> None:
    poses = [Pose(0, 150, 120, 80)]
    samples = extract_faces(scene(40, lambda i: poses if i < 33 else []), SHORT, ColourBackend())
    assert spans(samples) == [(0, 33)]


def test_other_face_at_the_same_place_after_a_loss_is_another_track() -> None:
    def poses(i: int) -> list[Pose]:
        return [] if 20 <= i < 24 else [Pose(0 if i < 20 else 4, 150, 120, 80)]

    assert spans(extract_faces(scene(50, poses), SHORT, ColourBackend())) == [(0, 20), (24, 50)]


def test_same_face_far_away_after_a_loss_is_another_track() -> None:
    def poses(i: int) -> list[Pose]:
        return [] if 20 <= i < 24 else [Pose(0, 80 if i < 20 else 240, 120, 60)]

    assert spans(extract_faces(scene(50, poses), SHORT, ColourBackend())) == [(0, 20), (24, 50)]


@pytest.mark.slow
def test_cut_ends_every_track_even_where_a_face_stays_in_place() -> None:
    def frames() -> Iterator[np.ndarray]:
        poses = [Pose(0, 100, 120, 70), Pose(1, 230, 120, 70)]
        yield from scene(25, lambda i: poses, seed=0)
        yield from scene(25, lambda i: poses, seed=9)

    expected = [(0, 25)] * 2 + [(25, 50)] * 2
    assert spans(extract_faces(frames(), SHORT, ColourBackend())) == expected
    assert spans(extract_faces(frames(), CUTS_ALONE, ColourBackend())) == expected


def test_other_person_in_one_place_from_one_frame_to_the_next_is_another_track() -> None:
    def poses(i: int) -> list[Pose]:
        return [Pose(0 if i < 25 else 4, 150, 120, 80)]

    samples = extract_faces(scene(50, poses), LIKENESS_ALONE, ColourBackend())
    assert spans(samples) == [(0, 25), (25, 50)]


@pytest.mark.slow
def test_cut_in_one_pane_splits_only_the_face_in_it() -> None:
    def frames() -> Iterator[np.ndarray]:
        one, other = background(SIZE, 0), background(SIZE, 9)
        for i in range(50):
            picture = one.copy()
            if i >= 25:
                picture[:, 160:] = other[:, 160:]
            yield draw(picture, [Pose(0, 70, 120, 60), Pose(1 if i < 25 else 2, 240, 120, 60)])

    for config in (SHORT, CUTS_ALONE):
        samples = extract_faces(frames(), config, ColourBackend())
        assert spans(samples) == [(0, 50), (0, 25), (25, 50)]


@pytest.mark.parametrize("config", [SHORT, CUTS_ALONE], ids=["likeness", "places"])
def test_crossing_faces_are_never_swapped(config: FacesConfig) -> None:
    def poses(i: int) -> list[Pose]:
        # Face 1 passes in front of face 0, which keeps still for the moment.
        return [Pose(0, 160, 120, 70), Pose(1, 40 + 3.4 * i, 124, 72)]

    samples = extract_faces(scene(70, poses), config, ColourBackend())
    path = 40 + 3.4 * np.arange(70)
    for sample in samples:
        x = centre_x(sample)
        frames = np.arange(*sample.span)
        still = np.abs(x - 160) < 6
        moving = np.abs(x - path[frames]) < 6
        assert still.all() or moving.all(), "a track went over to the other face"
    assert spans(samples)[0] == (0, 70)  # the one in front is never lost


class DriftingBackend(ColourBackend):
    """Landmarks that slide over to the next face when theirs is gone, a few pixels a frame."""

    def _estimate(self, frame: np.ndarray, region: Region) -> Estimate:
        found = super()._estimate(frame, replace(region, side=2 * region.side))
        step = np.array([found.region.x - region.x, found.region.y - region.y])
        x, y = np.array([region.x, region.y]) + np.clip(step, -10, 10)
        points = FACE * region.side / 1.5 + np.array([x, y, 0])
        return Estimate(points.astype(np.float32), found.score, replace(region, x=x, y=y))


def test_track_that_moves_onto_another_face_ends_there() -> None:
    def poses(i: int) -> list[Pose]:
        return [Pose(4, 100, 120, 40)] + ([Pose(0, 150, 120, 40)] if i < 20 else [])

    config = replace(CUTS_ALONE, min_face_px=30)
    samples = extract_faces(scene(60, poses), config, DriftingBackend())
    assert len(samples) == 2
    assert samples[0].span == (0, 60)
    assert centre_x(samples[0]) == pytest.approx(100, abs=1)
    assert samples[1].span[1] < 25


def test_walking_face_is_tracked_without_a_new_detection() -> None:
    backend = ColourBackend()
    config = FacesConfig(detect_every=1000, min_track_frames=5)
    poses = lambda i: [Pose(0, 60 + 3 * i, 120 + 20 * np.sin(i / 5), 60 + 0.3 * i)]  # noqa: E731
    (sample,) = extract_faces(scene(60, poses), config, backend)
    assert sample.span == (0, 60)
    assert backend.detections == 2  # one search and the survey of frame 0


def test_short_tracks_are_dropped() -> None:
    poses = [Pose(0, 150, 120, 80)]
    config = FacesConfig(min_track_frames=25)
    assert not extract_faces(scene(24, lambda i: poses), config, ColourBackend())
    assert len(extract_faces(scene(25, lambda i: poses), config, ColourBackend())) == 1


def test_dropped_second_face_still_shows_in_the_scores() -> None:
    def poses(i: int) -> list[Pose]:
        return [Pose(0, 90, 120, 70)] + ([Pose(1, 230, 120, 70)] if 16 <= i < 26 else [])

    config = FacesConfig(min_track_frames=25)
    (sample,) = extract_faces(scene(50, poses), config, ColourBackend())
    assert sample.scores["other_face_share"] == pytest.approx(10 / 50)


def test_only_the_largest_faces_are_tracked() -> None:
    poses = [Pose(k, 40 + 75 * k, 120, 40 + 5 * k) for k in range(4)]
    config = FacesConfig(max_faces=2, min_track_frames=5, min_face_px=30)
    samples = extract_faces(scene(20, lambda i: poses), config, ColourBackend())
    assert [round(float(centre_x(s).mean())) for s in samples] == [190, 265]


@pytest.mark.slow
def test_batched_backend_gives_the_tracks_of_an_unbatched_one() -> None:
    def poses(i: int) -> list[Pose]:
        return [] if 20 <= i < 26 else [Pose(0, 60 + 3 * i, 120, 70), Pose(1, 280, 60, 50 + i / 4)]

    backend = ColourBackend(window=8)
    batched = extract_faces(scene(60, poses), SHORT, backend)
    single = extract_faces(scene(60, poses), SHORT, ColourBackend())
    assert backend.largest_batch >= 8
    assert spans(batched) == spans(single)
    for a, b in zip(batched, single, strict=True):
        np.testing.assert_array_equal(a.landmarks.points, b.landmarks.points)
        np.testing.assert_array_equal(a.lips, b.lips)


def test_two_runs_give_the_same_bytes() -> None:
    def poses(i: int) -> list[Pose]:
        return [] if 20 <= i < 26 else [Pose(0, 60 + 3 * i, 120, 70)]

    first, second = (extract_faces(scene(60, poses), SHORT, ColourBackend()) for _ in range(2))
    for a, b in zip(first, second, strict=True):
        assert a.scores == b.scores
        assert a.lips.tobytes() == b.lips.tobytes()
        for name in ("points", "valid", "score", "box", "to_mean_face", "crop_xy"):
            x, y = getattr(a.landmarks, name), getattr(b.landmarks, name)
            assert x.tobytes() == y.tobytes()


@pytest.mark.parametrize("window", [1, 8])
def test_no_more_frames_than_the_window_stay_in_memory(window: int) -> None:
    alive: list[weakref.ref[np.ndarray]] = []
    most = 0

    def frames() -> Iterator[np.ndarray]:
        nonlocal most
        for frame in scene(60, lambda i: [Pose(0, 100 + i, 120, 70)]):
            most = max(most, sum(ref() is not None for ref in alive))
            alive.append(weakref.ref(frame))
            yield frame
            del frame

    extract_faces(frames(), SHORT, ColourBackend(window=window))
    assert most <= window + 2


def test_frame_of_another_size_or_type_is_named() -> None:
    good = background(SIZE)
    with pytest.raises(ValueError, match=r"frame 1 is uint8 \(240, 319, 3\)"):
        extract_faces([good, good[:, :-1]], SHORT, ColourBackend())
    with pytest.raises(ValueError, match="frame 0 is float64"):
        extract_faces([good / 2], SHORT, ColourBackend())


@pytest.mark.parametrize(
    "wrong",
    [
        {"detect_every": 0},
        {"max_gap": -1},
        {"min_face_px": 3},
        {"roi_side_px": 50},
        {"same_face": 2.0},
        {"min_track_frames": 0},
    ],
)
def test_nonsense_settings_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        FacesConfig(**wrong)  # type: ignore[arg-type]
