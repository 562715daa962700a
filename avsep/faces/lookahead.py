"""Landmarks frame by frame, estimated for several frames at once by backends with batches."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from avsep.faces.backends import Estimate, FaceBackend, Region
from avsep.faces.pictures import Picture, as_picture
from avsep.faces.timing import StepTimer

# An estimate is kept when its region is this close to the wanted one, relative to the side.
NEAR = 0.08


class Lookahead:
    """Yields pictures one by one, and estimates landmarks in the current one.

    With a backend that has batches, the next frames are estimated together with the current one,
    in the same region. If the face has moved by then, its frame is estimated again.
    """

    def __init__(
        self, frames: Iterable[np.ndarray | Picture], backend: FaceBackend, timer: StepTimer
    ) -> None:
        self._frames = iter(frames)
        self._backend = backend
        self._timer = timer
        self._window: deque[Picture] = deque()
        # By track id: region and estimate for each frame of the window.
        self._ready: dict[int, deque[tuple[Region, Estimate]]] = {}

    def __iter__(self) -> Iterator[Picture]:
        while True:
            if self._window:
                self._window.popleft()
                for queue in self._ready.values():
                    queue.popleft()
                self._ready = {track_id: queue for track_id, queue in self._ready.items() if queue}
            while len(self._window) < self._backend.window:
                frame = next(self._frames, None)
                if frame is None:
                    break
                self._window.append(as_picture(frame))
            if not self._window:
                return
            yield self._window[0]

    def pixels(self) -> np.ndarray:
        """The current picture as (H, W, 3) uint8 RGB."""
        return self._pixels(self._window[0])

    def estimate(self, track_ids: Sequence[int], regions: Sequence[Region]) -> list[Estimate]:
        """Estimates in the current frame for tracked faces.

        Args:
            track_ids: number of each face, the same from frame to frame.
            regions: where to look for each face.
        """
        stale = [
            (track_id, region)
            for track_id, region in zip(track_ids, regions, strict=True)
            if track_id not in self._ready or not _near(self._ready[track_id][0][0], region)
        ]
        if stale:
            frames = [self._pixels(picture) for picture in self._window]
            results = iter(
                self._estimate(
                    [frame for _ in stale for frame in frames],
                    [region for _, region in stale for _ in frames],
                )
            )
            for track_id, region in stale:
                self._ready[track_id] = deque((region, next(results)) for _ in frames)
        return [self._ready[track_id][0][1] for track_id in track_ids]

    def estimate_new(self, region: Region) -> Estimate:
        """An estimate in the current frame only, for a face that was just detected."""
        return self._estimate([self.pixels()], [region])[0]

    def _pixels(self, picture: Picture) -> np.ndarray:
        with self._timer.step("decode"):
            return picture.rgb()

    def _estimate(self, frames: Sequence[np.ndarray], regions: Sequence[Region]) -> list[Estimate]:
        with self._timer.step("landmark"):
            return self._backend.landmarks(frames, regions)


def _near(a: Region, b: Region) -> bool:
    slack = NEAR * a.side
    return abs(a.x - b.x) <= slack and abs(a.y - b.y) <= slack and abs(a.side - b.side) <= slack
