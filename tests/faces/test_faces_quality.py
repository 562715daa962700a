"""Scores measure what they say, on faces that are turned, shaken and silent on purpose."""

from __future__ import annotations

import numpy as np
import pytest

from avsep.faces.quality import (
    loudness,
    mouth_opening,
    picture_scores,
    sound_scores,
    yaw_degrees,
)
from avsep.schema import DETECTED, INTERPOLATED, MISSING, Landmarks
from tests.support.face_scene import FACE

FRAMES = 150
EYES = float(np.hypot(*(FACE[36] - FACE[45])[:2]))


def turned(degrees: float) -> np.ndarray:
    """The template with its face towards the picture's right by some degrees, (68, 3)."""
    # The template's own head may be turned a little; make it symmetric first.
    points = FACE * 150
    points = points - points[[36, 45]].mean(axis=0)
    level = np.arctan2(points[36, 2] - points[45, 2], points[45, 0] - points[36, 0])
    angle = np.radians(degrees) - level
    cos, sin = np.cos(angle), np.sin(angle)
    x, z = points[:, 0].copy(), points[:, 2].copy()
    points[:, 0], points[:, 2] = cos * x + sin * z, cos * z - sin * x
    return points + np.array([112, 100, 0])


def talk(opening: np.ndarray) -> np.ndarray:
    """Frames (T, 68, 3) whose inner lips are apart by `opening` of the inter-ocular distance."""
    points = np.tile(FACE * 150 + np.array([112, 112, 0]), (len(opening), 1, 1))
    upper, lower = (61, 62, 63), (67, 66, 65)
    points[:, lower, :2] = points[:, upper, :2]
    points[:, lower, 1] += (opening * EYES * 150)[:, None]
    return points


def landmarks(points: np.ndarray, valid: np.ndarray | None = None) -> Landmarks:
    frames = len(points)
    to_mean = np.tile(np.eye(2, 3, dtype=np.float32), (frames, 1, 1))
    return Landmarks(
        points=points.astype(np.float16),
        valid=np.full(frames, DETECTED, np.uint8) if valid is None else valid,
        score=np.ones(frames, np.float16),
        box=np.zeros((frames, 4), np.float32),
        to_mean_face=to_mean,
        crop_xy=np.full((frames, 2), 60, np.float32),
    )


def opening_curve(seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    curve = np.convolve(rng.random(FRAMES + 4), np.ones(5) / 5, "valid")
    return (curve - curve.min()) / np.ptp(curve) * 0.4


def sound_of(curve: np.ndarray, late: int) -> np.ndarray:
    """Noise as loud as the curve of `late` frames before, (640 T,) int16."""
    level = np.roll(curve, late).repeat(640)
    noise = np.random.default_rng(1).normal(0, 1, len(level))
    return (noise * level * 8000).clip(-32768, 32767).astype(np.int16)


def test_mouth_opening_is_a_share_of_the_eyes_distance() -> None:
    curve = opening_curve()
    np.testing.assert_allclose(mouth_opening(talk(curve)), curve, atol=1e-6)


@pytest.mark.parametrize("late", [-6, 0, 4])
def test_lag_is_positive_where_the_sound_comes_late(late: int) -> None:
    curve = opening_curve()
    scores = sound_scores(landmarks(talk(curve)), sound_of(curve, late))
    assert scores["mouth_sound_lag"] == late
    assert scores["mouth_sound_best_r"] > 0.6
    if late:
        assert scores["mouth_sound_r"] < scores["mouth_sound_best_r"]
    else:
        assert scores["mouth_sound_r"] == scores["mouth_sound_best_r"]


def test_sound_of_another_face_correlates_less() -> None:
    sound = sound_of(opening_curve(), 0)
    own = sound_scores(landmarks(talk(opening_curve())), sound)["mouth_sound_r"]
    other = sound_scores(landmarks(talk(opening_curve(5))), sound)["mouth_sound_r"]
    assert own > 0.6 > 0.3 > abs(other)


def test_still_mouth_silence_and_missing_faces_score_zero() -> None:
    curve = opening_curve()
    zero = {"mouth_sound_r": 0.0, "mouth_sound_best_r": 0.0, "mouth_sound_lag": 0.0}
    still = landmarks(talk(np.full(FRAMES, 0.1)))
    assert sound_scores(still, sound_of(curve, 0)) == zero
    assert sound_scores(landmarks(talk(curve)), np.zeros(640 * FRAMES, np.int16)) == zero
    gone = landmarks(talk(curve), np.full(FRAMES, MISSING, np.uint8))
    assert sound_scores(gone, sound_of(curve, 0)) == zero


def test_missing_frames_do_not_count_in_the_correlation() -> None:
    curve = opening_curve()
    points, valid = talk(curve), np.full(FRAMES, DETECTED, np.uint8)
    points[40:80], valid[40:80] = talk(np.full(40, 0.9)), MISSING
    held = sound_scores(landmarks(points, valid), sound_of(curve, 0))
    counted = sound_scores(landmarks(points), sound_of(curve, 0))
    assert held["mouth_sound_r"] > 0.6 > counted["mouth_sound_r"]


def test_sound_of_another_length_is_refused() -> None:
    with pytest.raises(ValueError, match="must have 640 per frame"):
        sound_scores(landmarks(talk(opening_curve())), np.zeros(100, np.int16))


def test_loudness_runs_from_quiet_to_loud() -> None:
    curve = np.linspace(0, 1, 50)
    values = loudness(sound_of(curve, 0))
    assert values[0] == 0
    assert values[-5:].min() > 0.9
    assert values.max() <= 1


@pytest.mark.parametrize("degrees", [-50, -20, 0, 30, 60])
def test_yaw_with_depth_is_the_angle_of_the_head(degrees: float) -> None:
    assert yaw_degrees(turned(degrees)[None])[0] == pytest.approx(degrees, abs=1)


@pytest.mark.parametrize("degrees", [-40, -20, 20, 40])
def test_yaw_without_depth_has_the_right_sign_and_about_the_right_size(degrees: float) -> None:
    flat = turned(degrees)[None]
    straight = turned(0)[None]
    flat[..., 2] = straight[..., 2] = 0
    estimate = yaw_degrees(flat)[0] - yaw_degrees(straight)[0]
    assert 0.4 < estimate / degrees < 1.6


def test_picture_scores_of_a_steady_face() -> None:
    valid = np.full(60, DETECTED, np.uint8)
    valid[10:13], valid[30:35] = INTERPOLATED, MISSING
    scores = picture_scores(landmarks(talk(np.full(60, 0.2)), valid), face_px=123.4)
    assert scores["missing_share"] == pytest.approx(8 / 60, abs=1e-6)
    assert scores["longest_gap"] == 5
    assert scores["jitter"] == 0
    assert scores["mouth_opening_variance"] == pytest.approx(0, abs=1e-6)
    assert scores["face_px"] == 123.4
    assert all(np.isfinite(value) for value in scores.values())


def test_jitter_grows_with_noise_and_not_with_motion() -> None:
    rng = np.random.default_rng(0)
    base = talk(np.full(60, 0.2))
    moving = base + np.linspace(0, 40, 60)[:, None, None]
    shaken = base + rng.normal(0, 1.0, base.shape)
    assert picture_scores(landmarks(moving), 100)["jitter"] < 0.003
    # The second difference of noise is sqrt(6) times as large in each direction.
    expected = np.sqrt(6) * np.sqrt(2 * np.log(2)) / (EYES * 150)
    assert picture_scores(landmarks(shaken), 100)["jitter"] == pytest.approx(expected, rel=0.1)


def test_mouth_outside_the_crop_is_measured_in_its_pixels() -> None:
    points = talk(np.full(5, 0.1))
    inside = landmarks(points)
    mouth = points[0, 48:68, :2]
    inside.crop_xy[:] = mouth.mean(axis=0) - 48
    assert picture_scores(inside, 100)["mouth_outside_px"] == 0
    inside.crop_xy[3, 0] = mouth[:, 0].max() + 4 - 95 - 14
    expected = mouth[:, 0].max() - float(inside.crop_xy[3, 0]) - 95
    assert picture_scores(inside, 100)["mouth_outside_px"] == pytest.approx(expected, abs=0.1)


def test_track_without_any_detection_has_finite_scores() -> None:
    gone = landmarks(talk(np.full(30, 0.1)), np.full(30, MISSING, np.uint8))
    scores = picture_scores(gone, 100)
    assert scores["missing_share"] == 1.0
    assert all(np.isfinite(value) for value in scores.values())
