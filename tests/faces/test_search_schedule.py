"""The detector searches often where a search is cheap, and backs off where it finds no face."""

from __future__ import annotations

import itertools

import pytest

from avsep.faces.backends.blazeface import SIZE, SMALLEST_SHARE, tile_sides, tile_starts
from avsep.faces.config import FacesConfig
from avsep.faces.search_schedule import SearchSchedule

FULL_HD = (1920, 1080)


def searches(
    size: tuple[int, int], num_frames: int, cuts: set[int] = frozenset(), smallest: int = 48
) -> dict[int, int]:
    """Side of the smallest face searched for, by frame, in a video without a face."""
    schedule = SearchSchedule(FacesConfig(min_face_px=smallest), *size)
    asked = {i: schedule.smallest_face(i, None, changed=i in cuts) for i in range(num_frames)}
    return {index: side for index, side in asked.items() if side is not None}


def tiles(size: tuple[int, int], side: int) -> int:
    """Runs of MediaPipe's detector in one search."""
    count = 1
    for tile in tile_sides(*size, side):
        overlap = int(SIZE * SMALLEST_SHARE * 2.6) + 3
        across, down = (len(tile_starts(round(n * SIZE / tile), overlap)) for n in size)
        count += across * down
    return count


def test_small_pictures_are_searched_in_every_second_frame() -> None:
    assert list(searches((224, 224), 200)) == list(range(0, 200, 2))


@pytest.mark.parametrize("smallest", [32, 48, 60])
@pytest.mark.parametrize("size", [FULL_HD, (1280, 720), (1080, 1920), (3840, 2160)])
def test_work_without_a_face_is_bounded(size: tuple[int, int], smallest: int) -> None:
    ten_minutes = searches(size, 15_000, smallest=smallest)
    assert sum(tiles(size, side) for side in ten_minutes.values()) < 6 * 15_000
    assert min(ten_minutes.values()) == smallest


def test_pauses_grow_with_the_time_without_a_face() -> None:
    found = [index for index, side in searches(FULL_HD, 1_000).items() if side == 48]
    pauses = [after - before for before, after in itertools.pairwise(found)]
    assert pauses[0] == 2
    assert pauses == sorted(pauses)
    assert 25 <= pauses[-1] <= 75


def test_large_faces_are_searched_for_often() -> None:
    found = list(searches(FULL_HD, 1_000))
    assert max(after - before for before, after in itertools.pairwise(found)) <= 20


def test_new_shot_is_searched_at_once() -> None:
    assert searches(FULL_HD, 1_000, cuts={777})[777] == 48


def test_flashing_pictures_do_not_defeat_the_pause() -> None:
    calm, flashing = searches(FULL_HD, 1_000), searches(FULL_HD, 1_000, cuts=set(range(1_000)))
    fine = [sum(side == 48 for side in found.values()) for found in (calm, flashing)]
    assert fine[1] < 8 * fine[0]


def test_face_that_has_just_gone_is_searched_for_often_again() -> None:
    schedule = SearchSchedule(FacesConfig(), *FULL_HD)
    for index in range(500):
        schedule.smallest_face(index, None, changed=False)
    for index in range(500, 600):
        schedule.smallest_face(index, 200.0, changed=False)
    asked = [schedule.smallest_face(index, None, changed=False) for index in range(600, 610)]
    assert asked.count(60) >= 2


def test_every_fourth_search_beside_a_tracked_face_is_thorough() -> None:
    schedule = SearchSchedule(FacesConfig(), 1280, 720)
    asked = [schedule.smallest_face(index, 200.0, changed=False) for index in range(64)]
    assert [side for side in asked if side] == [60, 120, 120, 120] * 2


def test_thorough_searches_of_a_large_picture_are_rarer() -> None:
    schedule = SearchSchedule(FacesConfig(min_face_px=32), *FULL_HD)
    asked = [schedule.smallest_face(index, 200.0, changed=False) for index in range(250)]
    assert 2 <= asked.count(32) <= 3
