"""One face over time: its landmarks, the frames where it was lost, and what it looked like."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipeline.faces.appearance import likeness, remember, surroundings
from pipeline.faces.backends import Region
from pipeline.faces.config import FacesConfig
from pipeline.faces.crops import GreyCrop
from pipeline.faces.cuts import Summary, distance, summary
from pipeline.faces.strip import Block, MouthStrip
from pipeline.schema import DETECTED, INTERPOLATED, MISSING, NUM_LANDMARKS

SHOT_SCALE = 2.0  # side of the part watched for cuts, over the side of the face box
HOLD_LIMIT = 250  # frames; pictures of a lost face wait in memory, so even `hold` has an end


@dataclass(frozen=True, eq=False)
class Sighting:
    """A face seen in one frame.

    Attributes:
        points: (68, 3) float32 in source pixels.
        score: 0..1.
        region: where to look in the next frame.
        box: (3,) centre x, centre y, side of the square around the points.
        crop: grey picture around it.
        patch: what it looks like, see `appearance`.
    """

    points: np.ndarray
    score: float
    region: Region
    box: np.ndarray
    crop: GreyCrop
    patch: np.ndarray


@dataclass(frozen=True, eq=False)
class FinishedTrack:
    """A track whose face is gone, T frames.

    Attributes:
        start: number of its first frame in the clip.
        first_x: x of the centre of the face in that frame, in source pixels.
        face_px: median side of the face box where the face was seen, in source pixels.
        valid: (T,) uint8, see `pipeline.schema.Landmarks`.
        score: (T,) float16.
        block: landmarks and mouth crops.
    """

    start: int
    first_x: float
    face_px: float
    valid: np.ndarray
    score: np.ndarray
    block: Block

    @property
    def stop(self) -> int:
        """Frame after the last, in the clip."""
        return self.start + len(self.valid)


class FaceTrack:
    """A face from its first frame to its last; made for a sighting that `see` then adds.

    Attributes:
        start: number of its first frame in the clip.
        slot: unique number of the track, in order of appearance.
        region: where to look in the next frame.
        box: (3,) of the last sighting.
        lost: frames since the last sighting; 0 while the face is seen.
    """

    def __init__(self, config: FacesConfig, slot: int, start: int, sighting: Sighting) -> None:
        self.start = start
        self.slot = slot
        self.lost = 0
        self._first_x = float(sighting.box[0])
        self._max_gap = config.max_gap
        self._limit = config.max_gap if config.long_gaps == "end" else HOLD_LIMIT
        self._points = np.empty((256, NUM_LANDMARKS, 3), np.float32)
        self._valid: list[int] = []
        self._scores: list[float] = []
        self._sides: list[float] = []
        self._strip = MouthStrip(config)
        self._memory = self._last_patch = sighting.patch
        self.region, self.box = sighting.region, sighting.box
        self._shot: Summary | None = None

    def __len__(self) -> int:
        return len(self._valid)

    def see(self, sighting: Sighting) -> None:
        """Add a frame where the face is seen; a gap before it is filled."""
        self._fill_gap(sighting.points)
        self._append(sighting.points, DETECTED, sighting.score)
        self._sides.append(float(sighting.box[2]))
        self.region, self.box = sighting.region, sighting.box
        self._last_patch = sighting.patch
        self._memory = remember(self._memory, sighting.patch)
        self._strip.push(sighting.crop)
        self._strip.advance(self._points[: len(self)])

    def miss(self, crop: GreyCrop) -> None:
        """Add a frame where the face is not seen; `crop` shows its last place."""
        self.lost += 1
        self._strip.push(crop)

    def watch(self, frame: np.ndarray) -> None:
        """Note what the surroundings of the face look like in the frame just added."""
        self._place = surroundings(frame, self.box, SHOT_SCALE)
        self._shot = summary(frame[self._place])

    def shot_change(self, frame: np.ndarray) -> float:
        """How unlike the next frame is where the last one was watched, 0..1.

        A cut in one pane of a split screen shows here, and not in the whole picture.
        """
        return distance(self._shot, summary(frame[self._place])) if self._shot else 0.0

    @property
    def over(self) -> bool:
        """Whether the face has been lost for too long."""
        return self.lost > self._limit

    def likeness_to_last(self, sighting: Sighting) -> float:
        """How alike a sighting is to the last one, -1..1."""
        return likeness(self._last_patch, sighting.patch)

    def likeness_to_memory(self, sighting: Sighting) -> float:
        """How alike a sighting is to the last half second, -1..1."""
        return likeness(self._memory, sighting.patch)

    def finish(self) -> FinishedTrack:
        """The whole track up to its last sighting; no frame can be added any more."""
        return FinishedTrack(
            start=self.start,
            first_x=self._first_x,
            face_px=float(np.median(self._sides)),
            valid=np.array(self._valid, np.uint8),
            score=np.array(self._scores, np.float16),
            block=self._strip.finish(self._points[: len(self)]),
        )

    def _fill_gap(self, points: np.ndarray) -> None:
        gap, self.lost = self.lost, 0
        if not gap:
            return
        last = self._points[len(self) - 1].copy()
        for i in range(1, gap + 1):
            if gap <= self._max_gap:
                share = np.float32(i / (gap + 1))
                self._append(last + (points - last) * share, INTERPOLATED, 0.0)
            else:
                self._append(last, MISSING, 0.0)

    def _append(self, points: np.ndarray, valid: int, score: float) -> None:
        if len(self) == len(self._points):
            self._points = np.concatenate([self._points, np.empty_like(self._points)])
        self._points[len(self)] = points
        self._valid.append(valid)
        self._scores.append(score)
