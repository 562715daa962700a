"""Rooms: the reverberation time that was asked for, and the levels of theory."""

import math

import numpy as np
import pytest

from avsep.room import DIFFUSE_S, Room, draw_room, impulse_response

RATE_HZ = 16_000


def responses(rt60_s, count=20):
    for seed in range(count):
        rng = np.random.default_rng(seed)
        yield impulse_response(draw_room(2, rng), 0, rt60_s, RATE_HZ, rng)


def decay_db(response):
    """The energy that is still to come at each time (Schroeder 1965), in dB."""
    left = np.cumsum(np.square(response)[::-1])[::-1]
    return 10 * np.log10(left / left[0] + 1e-30)


def measured_rt60_s(response):
    """T30 of ISO 3382: a straight line through the decay from -5 to -35 dB."""
    curve = decay_db(response)
    first, stop = (int(np.argmax(curve <= level)) for level in (-5, -35))
    slope = np.polyfit(np.arange(first, stop) / RATE_HZ, curve[first:stop], 1)[0]
    return -60 / slope


@pytest.mark.parametrize("rt60_s", [0.1, 0.2, 0.4, 0.7, 1.0])
def test_the_reverberation_time_of_every_room_is_right_within_15_percent(rt60_s):
    for response in responses(rt60_s):
        assert measured_rt60_s(response) == pytest.approx(rt60_s, rel=0.15)


def test_the_direct_sound_comes_first_and_is_one_and_reflections_are_weaker():
    for response in responses(0.5):
        assert response[0] == pytest.approx(1)
        assert np.abs(response[1:]).max() < 1
        assert len(response) == 0.5 * RATE_HZ


def test_reflections_arrive_where_geometry_has_them():
    room = Room(size_m=(8.0, 6.0, 3.0), microphone_m=(4.0, 3.0, 1.5), talkers_m=((5.0, 3.0, 1.5),))
    response = impulse_response(room, 0, 0.5, RATE_HZ, np.random.default_rng(0))
    # Floor and ceiling together: 1.5 m up and down again, 1 m across; then the wall behind.
    floor_m, wall_m = math.hypot(1, 3), 7.0
    surface = 2 * (8 * 6 + 8 * 3 + 6 * 3)
    reflected = math.exp(-2 * math.log(1e6) * 8 * 6 * 3 / (343 * surface * 0.5))
    places = np.flatnonzero(response[: round(DIFFUSE_S * RATE_HZ)])
    floor, wall = (round((way_m - 1) / 343 * RATE_HZ) for way_m in (floor_m, wall_m))
    assert places[:2].tolist() == [0, floor]
    assert response[floor] == pytest.approx(2 * reflected / floor_m)
    assert response[wall] == pytest.approx(reflected / wall_m)


def test_the_diffuse_field_goes_on_where_the_reflections_end():
    """Without the right level of the noise there would be a step at 25 ms."""
    edge, step = round(DIFFUSE_S * RATE_HZ), round(0.01 * RATE_HZ)
    found = list(responses(0.6, 100))
    before = np.mean([np.square(r[edge - step : edge]).sum() for r in found])
    after = np.mean([np.square(r[edge : edge + step]).sum() for r in found])
    assert 10 * math.log10(before / after) == pytest.approx(60 * 0.01 / 0.6, abs=1.5)
