"""Faces of other proportions: `AugmentConfig.shape`."""

import numpy as np
import pytest

from avsep.loading.augment import SHAPE_PX, crop_lips, reshape_face
from avsep.loading.config import AugmentConfig
from avsep.loading.mixtures import TrainMixtures
from tests.support.synthetic_store import SyntheticStore


def rng(seed):
    return np.random.default_rng(seed)


def test_lips_are_stretched_about_their_middle_within_bounds_and_alike_in_all_frames():
    ramp = np.tile(np.arange(96, dtype=np.uint8), (3, 96, 1))
    zooms = []
    for seed in range(40):
        cut = crop_lips(ramp, AugmentConfig(shape=0.2), rng(seed))
        assert cut.shape == (3, 88, 88)
        assert cut.dtype == np.uint8
        assert (cut == cut[0, 0]).all()  # no change along the height, nor from frame to frame
        assert abs(float(cut[0, 0, 43]) + float(cut[0, 0, 44]) - 95) <= 1
        inner = cut[0, 0, 14:74].astype(float)  # away from the repeated border
        zooms.append(1 / np.polyfit(np.arange(60), inner, 1)[0])
    assert 1 / 1.21 < min(zooms) < 0.9
    assert 1.1 < max(zooms) < 1.21


def test_height_and_width_are_stretched_each_by_itself():
    ramp = np.arange(96, dtype=np.uint8)
    wide = np.tile(ramp, (1, 96, 1))
    cut = [
        crop_lips(lips, AugmentConfig(shape=0.3), rng(1)) for lips in (wide, wide.swapaxes(1, 2))
    ]
    assert not np.array_equal(cut[0][0, 0], cut[1][0, :, 0])


def test_a_stretched_cut_still_wanders():
    dot = np.zeros((1, 96, 96), np.uint8)
    dot[0, 48, 48] = 255
    config = AugmentConfig(crop=True, shape=1e-9)
    positions = {
        tuple(np.argwhere(crop_lips(dot, config, rng(seed))[0] == 255)[0]) for seed in range(60)
    }
    assert {top for top, _ in positions} == {left for _, left in positions} == set(range(40, 49))


def face(frames=6):
    still = rng(0).uniform(60, 160, (1, 68, 3))
    return (still + 3 * rng(1).standard_normal((frames, 68, 3))).astype(np.float32)


def test_a_face_keeps_its_movements_and_changes_its_proportions():
    points = face()
    reaches, offsets = [], []
    for seed in range(40):
        changed = reshape_face(points, AugmentConfig(shape=0.1), rng(seed))
        assert changed.dtype == np.float32
        assert changed.shape == points.shape
        moves, before = (x - x.mean(axis=0) for x in (changed, points))
        gain = (moves * before).sum(axis=(0, 1)) / np.square(before).sum(axis=(0, 1))
        np.testing.assert_allclose(moves, gain * before, atol=1e-3)
        reaches.append(gain)
        still, old = changed.mean(axis=0), points.mean(axis=0)
        scale = [np.polyfit(old[:, axis], still[:, axis], 1)[0] for axis in range(3)]
        assert (np.abs(np.log(scale)) < np.log(1.1) + 0.02).all()
        offsets.append((still - still.mean(axis=0)) - scale * (old - old.mean(axis=0)))
    assert np.std(offsets) == pytest.approx(0.1 * SHAPE_PX, rel=0.1)
    assert np.ptp(reaches) > 0.3
    assert np.abs(np.log(reaches)).max() < np.log(1.2 * 1.1) + 1e-3


def test_without_shape_landmarks_stay_as_they_are():
    points = face()
    assert reshape_face(points, AugmentConfig(), rng(0)) is points


def test_items_show_a_reshaped_face_and_the_same_sound():
    store = SyntheticStore()
    plain, changed = (
        TrainMixtures(
            store,
            store.draw(30),
            seed=4,
            cues=("lips", "landmarks"),
            augment=AugmentConfig(shape=share),
        )[5]
        for share in (0.0, 0.1)
    )
    for name in ("lips", "landmarks"):
        assert changed[name].shape == plain[name].shape
        assert not np.array_equal(changed[name], plain[name])
    np.testing.assert_array_equal(changed["mixture"], plain["mixture"])
