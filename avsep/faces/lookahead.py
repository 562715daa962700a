"""Landmarks frame by frame, estimated for several frames at once by backends with batches."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice

import numpy as np

from avsep.faces.backends import Estimate, FaceBackend, Region
from avsep.faces.cuts import CutDetector
from avsep.faces.pictures import Picture, as_picture
from avsep.faces.timing import StepTimer

# An estimate is kept when its region is this close to the wanted one, relative to the side.
NEAR = 0.08
FIRST_STEP = 2  # frames that are estimated at once for a new face; a face that stays gets more


@dataclass
class _Anchor:
    """The region in which a face is looked for in several frames.

    Attributes:
        region: the region.
        left: number of frames that it may still serve, from the current one.
        step: number of frames to estimate at once.
        served: number of frames that it has served.
        ready: estimates in the current frame and the next ones.
    """

    region: Region
    left: int
    step: int
    served: int = 0
    ready: deque[Estimate] = field(default_factory=deque)


class Lookahead:
    """Yields pictures one by one, and estimates landmarks in the current one.

    With a backend that has batches, some of the next frames are estimated together with the current
    one, in the same region. If the face has moved by then, its frame is estimated again; so the
    more a face moves, the fewer frames are estimated ahead, and none beyond a cut. How many does
    not change the estimates: a region serves as many frames as the window of the backend has.
    """

    def __init__(
        self,
        frames: Iterable[np.ndarray | Picture],
        backend: FaceBackend,
        timer: StepTimer,
        cuts: CutDetector,
    ) -> None:
        self._frames = iter(frames)
        self._backend = backend
        self._timer = timer
        self._detector = cuts
        self._window: deque[Picture] = deque()
        self._shape: tuple[int, ...] = ()
        self._taken = 0
        self._cuts: deque[bool] = deque()  # whether a new shot starts with each of them
        self._anchors: dict[int, _Anchor] = {}  # by track id

    def __iter__(self) -> Iterator[Picture]:
        while True:
            if self._window:
                self._advance()
            while len(self._window) < self._backend.window:
                frame = next(self._frames, None)
                if frame is None:
                    break
                self._window.append(self._checked(as_picture(frame)))
                with self._timer.step("track"):
                    self._cuts.append(self._detector.is_cut(self._window[-1]))
            if not self._window:
                return
            yield self._window[0]

    @property
    def cut(self) -> bool:
        """Whether a new shot starts with the current picture."""
        return self._cuts[0]

    def pixels(self) -> np.ndarray:
        """The current picture as (H, W, 3) uint8 RGB."""
        return self._pixels(self._window[0])

    def estimate(self, track_ids: Sequence[int], regions: Sequence[Region]) -> list[Estimate]:
        """Estimates in the current frame for tracked faces.

        Args:
            track_ids: number of each face, the same from frame to frame.
            regions: where to look for each face.
        """
        anchors = [self._anchor(*pair) for pair in zip(track_ids, regions, strict=True)]
        shot = self._frames_of_shot()
        counts = [0 if a.ready else min(a.step, a.left, shot) for a in anchors]
        pictures = [
            self._pixels(picture) for picture in islice(self._window, max(counts, default=0))
        ]
        frames = [picture for count in counts for picture in pictures[:count]]
        if frames:
            wanted = [
                a.region for a, count in zip(anchors, counts, strict=True) for _ in range(count)
            ]
            results = iter(self._estimate(frames, wanted))
            for anchor, count in zip(anchors, counts, strict=True):
                anchor.ready.extend(islice(results, count))
                if count:
                    anchor.step *= 2
        return [anchor.ready[0] for anchor in anchors]

    def estimate_new(self, region: Region) -> Estimate:
        """An estimate in the current frame only, for a face that was just detected."""
        return self._estimate([self.pixels()], [region])[0]

    def _advance(self) -> None:
        self._window.popleft()
        self._cuts.popleft()
        for anchor in self._anchors.values():
            anchor.left -= 1
            anchor.served += 1
            if anchor.ready:
                anchor.ready.popleft()
        self._anchors = {i: anchor for i, anchor in self._anchors.items() if anchor.left >= 0}

    def _anchor(self, track_id: int, region: Region) -> _Anchor:
        """The anchor of a face, a new one where the last one is used up or the face has moved."""
        anchor = self._anchors.get(track_id)
        if anchor is None or not anchor.left or not _near(anchor.region, region):
            step = FIRST_STEP if anchor is None else anchor.served
            anchor = _Anchor(region=region, left=len(self._window), step=step)
            self._anchors[track_id] = anchor
        return anchor

    def _frames_of_shot(self) -> int:
        """Number of frames of the window before the next cut."""
        later = (number for number, cut in enumerate(self._cuts) if cut and number)
        return next(later, len(self._cuts))

    def _checked(self, picture: Picture) -> Picture:
        """The picture, if it has the size of the first one.

        Raises:
            ValueError: it has another size, or is not an RGB picture.
        """
        self._shape = self._shape or (*picture.shape[:2], 3)
        if picture.shape != self._shape or picture.dtype != np.uint8:
            raise ValueError(
                f"frame {self._taken} is {picture.dtype} {picture.shape}, not uint8 {self._shape};"
                " decode to RGB of one size."
            )
        self._taken += 1
        return picture

    def _pixels(self, picture: Picture) -> np.ndarray:
        with self._timer.step("decode"):
            return picture.rgb()

    def _estimate(self, frames: Sequence[np.ndarray], regions: Sequence[Region]) -> list[Estimate]:
        with self._timer.step("landmark"):
            return self._backend.landmarks(frames, regions)


def _near(a: Region, b: Region) -> bool:
    slack = NEAR * a.side
    return abs(a.x - b.x) <= slack and abs(a.y - b.y) <= slack and abs(a.side - b.side) <= slack
