"""Damage to the video: what each kind changes, how much, and that it is the same each time."""

import numpy as np
import pytest

from avsep.damage import SOUND, VISUAL, draw_damage, generator_of, parse_damage
from avsep.loading.augment import crop_lips, damage_landmarks
from avsep.loading.config import AugmentConfig
from avsep.schema import MISSING
from avsep.visual_damage import MAX_SHIFT_FRAMES, damage_video

FRAMES = 50
RNG = np.random.default_rng(0)
LIPS = RNG.integers(0, 256, (FRAMES, 96, 96), dtype=np.uint8)
MOVES = np.arange(FRAMES, dtype=np.float32)[:, None, None]
POINTS = RNG.standard_normal((FRAMES, 68, 3), dtype=np.float32) + MOVES
VALID = np.ones(FRAMES, np.uint8)


def damage(kind, severity, seed="a"):
    return damage_video(LIPS, POINTS, VALID, kind, severity, generator_of(kind, seed))


def changed(array, before) -> int:
    return int((array != before).reshape(FRAMES, -1).any(1).sum())


@pytest.mark.parametrize("kind", VISUAL)
def test_a_damage_is_the_same_each_time_and_leaves_its_input(kind):
    before = LIPS.copy(), POINTS.copy(), VALID.copy()
    for first, second in zip(damage(kind, 0.5), damage(kind, 0.5), strict=True):
        assert np.array_equal(first, second)
    for array, kept in zip((LIPS, POINTS, VALID), before, strict=True):
        assert np.array_equal(array, kept)
    lips, points, valid = damage(kind, 0.5)
    assert (lips.shape, lips.dtype) == (LIPS.shape, np.uint8)
    assert (points.shape, points.dtype) == (POINTS.shape, np.float32)
    assert (valid.shape, valid.dtype) == (VALID.shape, np.uint8)


@pytest.mark.parametrize("kind", ["covered", "frozen", "dropped", "black"])
def test_the_severity_is_the_share_of_the_time(kind):
    counts = [changed(damage(kind, severity)[0], LIPS) for severity in (0.2, 0.5, 1.0)]
    # A frozen span shows its first frame as it is, and the first frame of all is never lost.
    assert counts == [pytest.approx(c, abs=1) for c in (10, 25, 50)]


def test_late_and_early_move_all_frames_by_up_to_200_ms():
    late, points, _ = damage("late", 1.0)
    assert np.array_equal(late[MAX_SHIFT_FRAMES:], LIPS[:-MAX_SHIFT_FRAMES])
    assert np.array_equal(points[MAX_SHIFT_FRAMES:], POINTS[:-MAX_SHIFT_FRAMES])
    early, _, _ = damage("early", 0.4)
    assert np.array_equal(early[:-2], LIPS[2:])


def test_a_lower_resolution_keeps_the_mean_and_loses_the_detail():
    lips, points, _ = damage("low-resolution", 1.0)
    assert lips.mean() == pytest.approx(LIPS.mean(), abs=0.5)
    assert lips.std() < 0.2 * LIPS.std()
    assert np.abs(points - POINTS).mean() > 1
    light, near, _ = damage("low-resolution", 0.1)
    assert light.std() > 2 * lips.std()
    assert np.abs(near - POINTS).mean() < 0.5


def test_without_a_picture_there_is_no_face_and_a_covered_mouth_does_not_move():
    lips, _, valid = damage("black", 0.5)
    dark = (lips == 0).all(axis=(1, 2))
    assert dark.sum() == 25
    assert np.array_equal(dark, valid == MISSING)
    _, points, valid = damage("covered", 1.0)
    mouth = points[:, 48:68] - points[:, 48:68].mean(axis=1, keepdims=True)
    assert np.abs(mouth - mouth[0]).max() < 1e-3
    assert np.array_equal(points[:, :48], POINTS[:, :48])
    assert (valid == VALID).all()


@pytest.mark.parametrize("frames", [1, 2])
@pytest.mark.parametrize("kind", VISUAL)
def test_very_short_videos_are_damaged_too(kind, frames):
    found = damage_video(LIPS[:frames], None, VALID[:frames], kind, 1.0, generator_of("x"))
    assert len(found[0]) == frames
    assert found[1] is None


@pytest.mark.parametrize(
    "name", ["covered@0", "covered@1.5", "covered@-1", "blur", "", "covered@", "covered@x", "@0.5"]
)
def test_an_unknown_damage_is_refused(name):
    with pytest.raises(ValueError, match=r"damage|severity"):
        parse_damage(name)


def test_names_have_a_severity():
    assert parse_damage("low-resolution@0.25") == ("low-resolution", 0.25)
    assert parse_damage("black") == ("black", 1.0)
    assert parse_damage("reverberant@0.5") == ("reverberant", 0.5)
    for kinds in (VISUAL, SOUND):
        drawn = {draw_damage(kinds, np.random.default_rng(i))[0] for i in range(200)}
        assert drawn == set(kinds)


def test_training_without_damage_draws_nothing_more_and_with_it_some_items_change():
    plain = AugmentConfig(crop=True, flip=0.5)
    some = AugmentConfig(crop=True, flip=0.5, visual=0.5)
    assert AugmentConfig(visual=0.1).changes_lips
    counts = {"lips": 0, "points": 0}
    for seed in range(40):
        first, second, third = (np.random.default_rng(seed) for _ in range(3))
        crop_lips(LIPS, plain, first)
        second.integers(0, 9, size=2)
        second.random()
        assert first.random() == second.random()
        points, _ = damage_landmarks(POINTS, VALID, some, third)
        counts["points"] += not np.array_equal(points, POINTS)
        centre = crop_lips(LIPS, AugmentConfig(visual=0.5), np.random.default_rng(seed))
        counts["lips"] += not np.array_equal(centre, LIPS[:, 4:92, 4:92])
    assert all(8 < count < 32 for count in counts.values())
