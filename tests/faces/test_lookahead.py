"""Frames are estimated ahead with the result of whole windows, but with less work."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from avsep.faces.backends import Detection, Estimate, Region
from avsep.faces.cuts import CutDetector
from avsep.faces.lookahead import NEAR, Lookahead
from avsep.faces.timing import StepTimer

WINDOW = 10


class CountingBackend:
    """Its points tell in which frame and region they were estimated."""

    name, window, min_score = "counting", WINDOW, 0.5

    def __init__(self) -> None:
        self.faces = 0

    def detect(self, frame: np.ndarray, min_face_px: int) -> list[Detection]:
        return []

    def landmarks(self, frames: Sequence[np.ndarray], regions: Sequence[Region]) -> list[Estimate]:
        self.faces += len(frames)
        return [
            Estimate(np.array([frame[0, 0, 0], region.x, region.y], np.float32), 1.0, region)
            for frame, region in zip(frames, regions, strict=True)
        ]


def path_of(kind: str, num_frames: int) -> list[Region | None]:
    """Where a face is in each frame; None while it is lost."""
    rng = np.random.default_rng(5)
    steps = {
        "still": np.zeros(num_frames),
        "steady": np.full(num_frames, 1.5),
        "jumps": 30.0 * (rng.random(num_frames) < 0.15),
        "fast": np.full(num_frames, 12.0),
        "lost": np.full(num_frames, 1.5),
    }[kind]
    regions: list[Region | None] = [Region(x, 50.0, 100.0) for x in np.cumsum(steps)]
    if kind == "lost":
        regions[23:26] = [None] * 3
        regions[40:60] = [None] * 20
    return regions


def pictures(num_frames: int, shot: int) -> list[np.ndarray]:
    """Frame numbers in the first pixel; a new shot every `shot` frames."""
    frames = [np.full((8, 8, 3), 200 * (i // shot % 2), np.uint8) for i in range(num_frames)]
    for i, frame in enumerate(frames):
        frame[0, 0] = i
    return frames


def whole_windows(regions: list[Region | None]) -> list[float]:
    """x of the region that serves each frame, when each new region serves a whole window."""
    served, anchor, since = [], None, 0
    for i, region in enumerate(regions):
        if region is None:
            continue
        near = anchor is not None and abs(anchor.x - region.x) <= NEAR * anchor.side
        if not near or i - since >= WINDOW:
            anchor, since = region, i
        served.append(float(np.float32(anchor.x)))
    return served


def run(regions: list[Region | None], shot: int) -> tuple[list[float], CountingBackend]:
    backend = CountingBackend()
    ahead = Lookahead(pictures(len(regions), shot), backend, StepTimer(), CutDetector(0.4))
    found, tracks = [], 0
    for i, _ in enumerate(ahead):
        assert ahead.cut == (i > 0 and i % shot == 0)
        tracks += ahead.cut  # a cut ends all tracks
        if (region := regions[i]) is not None:
            (estimate,) = ahead.estimate([tracks], [region])
            assert estimate.points[0] == i
            found.append(float(estimate.points[1]))
    return found, backend


@pytest.mark.parametrize("kind", ["still", "steady", "jumps", "fast", "lost"])
def test_every_frame_is_estimated_in_the_region_of_its_whole_window(kind: str) -> None:
    regions = path_of(kind, 100)
    found, _ = run(regions, shot=1_000)
    assert found == whole_windows(regions)


@pytest.mark.parametrize(
    ("kind", "most"), [("still", 1.0), ("steady", 1.3), ("jumps", 1.5), ("fast", 1.1)]
)
def test_a_moved_face_costs_a_frame_and_not_a_window(kind: str, most: float) -> None:
    regions = path_of(kind, 100)
    _, backend = run(regions, shot=1_000)
    assert 100 <= backend.faces <= most * 100


def test_nothing_is_estimated_beyond_a_cut() -> None:
    _, backend = run(path_of("still", 100), shot=7)
    assert backend.faces == 100


def test_faces_share_a_batch_and_have_windows_of_their_own() -> None:
    still, fast = path_of("still", 60), path_of("fast", 60)
    backend = CountingBackend()
    ahead = Lookahead(pictures(60, 1_000), backend, StepTimer(), CutDetector(0.4))
    for i, _ in enumerate(ahead):
        a, b = ahead.estimate([0, 1], [still[i], fast[i]])
        assert (a.points[0], b.points[0]) == (i, i)
        assert b.points[1] == fast[i].x
    assert backend.faces <= 60 + 1.1 * 60
