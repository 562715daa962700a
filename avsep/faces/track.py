"""One face over time: its landmarks, its gaps and its appearance."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from avsep.faces.appearance import patch_similarity, surroundings, update_memory
from avsep.faces.backends import Region
from avsep.faces.config import FacesConfig
from avsep.faces.crops import GreyCrop
from avsep.faces.cuts import Summary, distance, summary
from avsep.faces.mouth_cropper import BLOCK, Block, MouthCropper
from avsep.faces.pictures import ArrayPicture
from avsep.faces.pose import yaw_degrees
from avsep.schema import DETECTED, INTERPOLATED, MISSING, NUM_LANDMARKS, TURNED

SHOT_SCALE = 2.0  # side of the part watched for cuts, relative to the side of the face box
EARLY_SIGHTINGS = 12  # sightings that make up the first appearance of a track
HOLD_LIMIT = 250  # frames; `hold` needs a limit, since pictures of a lost face stay in memory


@dataclass(frozen=True, eq=False)
class Sighting:
    """A face seen in one frame.

    Attributes:
        points: (68, 3) float32 in source pixels.
        score: confidence of the backend, 0..1.
        region: where to look in the next frame.
        box: (3,) centre x, centre y and side of the square around the points, in source pixels.
        crop: grey picture around the face.
        patch: colour patch of the face, see `appearance.face_patch`.
    """

    points: np.ndarray
    score: float
    region: Region
    box: np.ndarray
    crop: GreyCrop
    patch: np.ndarray


@dataclass(frozen=True, eq=False)
class TrackChunk:
    """Some frames of a track that will not change any more, n of them.

    Attributes:
        track_id: number of the track, in order of appearance.
        start: number of the first of these frames in the clip.
        valid: (n,) uint8, see `avsep.schema.Landmarks`.
        score: (n,) float16, confidence of the backend, 0..1.
        block: landmarks and mouth crops of these frames.
    """

    track_id: int
    start: int
    valid: np.ndarray
    score: np.ndarray
    block: Block


@dataclass(frozen=True, eq=False)
class FinishedTrack:
    """A track that has ended, T frames.

    Attributes:
        track_id: unique number of the track, in order of appearance.
        start: number of the first frame in the clip.
        first_box: (3,) centre x, centre y and side of the first face box, in source pixels.
        last_box: (3,) centre x, centre y and side of the last face box, in source pixels.
        face_px: median side of the face box where the face was seen, in source pixels.
        appearance: (2, 432) float32, colour patches of the face at first and at last.
        valid: (T,) uint8, see `avsep.schema.Landmarks`.
        score: (T,) float16, confidence of the backend, 0..1.
        block: landmarks and mouth crops; None where they went to `on_chunk`.
    """

    track_id: int
    start: int
    first_box: np.ndarray
    last_box: np.ndarray
    face_px: float
    appearance: np.ndarray
    valid: np.ndarray
    score: np.ndarray
    block: Block | None

    @property
    def first_x(self) -> float:
        """x of the centre of the face in the first frame, in source pixels."""
        return float(self.first_box[0])

    @property
    def stop(self) -> int:
        """Number of the frame after the last in the clip."""
        return self.start + len(self.valid)


class FaceTrack:
    """A face from its first frame to its last. The first sighting must also be added.

    Attributes:
        start: number of the first frame in the clip.
        track_id: unique number of the track, in order of appearance.
        region: where to look in the next frame.
        box: (3,) centre x, centre y and side at the last sighting, in source pixels.
        lost: number of frames since the last sighting; 0 while the face is seen.
    """

    def __init__(
        self,
        config: FacesConfig,
        track_id: int,
        start: int,
        sighting: Sighting,
        on_chunk: Callable[[TrackChunk], None] | None = None,
        block: int = BLOCK,
    ) -> None:
        self.start = start
        self.track_id = track_id
        self.lost = 0
        self.first_box = sighting.box
        self._max_gap = config.max_gap
        self._max_yaw_deg = config.max_yaw_deg
        self._limit = config.max_gap if config.long_gaps == "end" else HOLD_LIMIT
        self._points = np.empty((256, NUM_LANDMARKS, 3), np.float32)
        self._base = 0  # number of the frame in `_points[0]`, in the track
        self._on_chunk = on_chunk
        self._num_sent = 0
        self._valid: list[int] = []
        self._scores: list[float] = []
        self._sides: list[float] = []
        self._cropper = MouthCropper(config, self._settle if on_chunk else None, block)
        self._memory = self._last_patch = sighting.patch
        self._early: np.ndarray | None = None
        self.region, self.box = sighting.region, sighting.box
        self._shot: Summary | None = None

    def __len__(self) -> int:
        return len(self._valid)

    def add_sighting(self, sighting: Sighting) -> None:
        """Add a frame where the face is seen; a gap before it is filled."""
        self._fill_gap(sighting.points)
        turned = abs(float(yaw_degrees(sighting.points[None])[0])) > self._max_yaw_deg
        self._append(sighting.points, TURNED if turned else DETECTED, sighting.score)
        self._sides.append(float(sighting.box[2]))
        self.region, self.box = sighting.region, sighting.box
        self._last_patch = sighting.patch
        self._memory = update_memory(self._memory, sighting.patch)
        if self._early is None and len(self._sides) >= EARLY_SIGHTINGS:
            self._early = self._memory
        self._cropper.push(sighting.crop)
        self._cropper.advance(self._known(), self._base)

    def add_miss(self, crop: GreyCrop) -> None:
        """Add a frame where the face is not seen; `crop` shows its last place."""
        self.lost += 1
        self._cropper.push(crop)

    def watch(self, frame: np.ndarray) -> None:
        """Remember the surroundings of the face in the frame just added, to find cuts."""
        self._place = surroundings(frame, self.box, SHOT_SCALE)
        self._shot = summary(ArrayPicture(frame[self._place]))

    def shot_change(self, frame: np.ndarray) -> float:
        """How much the surroundings of the face differ in the next frame, 0..1.

        A cut in one pane of a split screen is visible here, but not in the whole picture.
        """
        return (
            distance(self._shot, summary(ArrayPicture(frame[self._place]))) if self._shot else 0.0
        )

    @property
    def over(self) -> bool:
        """Whether the face has been lost for too long."""
        return self.lost > self._limit

    def similarity_to_last(self, sighting: Sighting) -> float:
        """Similarity of a sighting to the last one, -1..1."""
        return patch_similarity(self._last_patch, sighting.patch)

    def similarity_to_memory(self, sighting: Sighting) -> float:
        """Similarity of a sighting to the last half second, -1..1."""
        return patch_similarity(self._memory, sighting.patch)

    @property
    def appearance(self) -> np.ndarray:
        """Colour patches of the face at first and at last, (2, 432) float32."""
        return np.stack([self._memory if self._early is None else self._early, self._memory])

    def finish(self) -> FinishedTrack:
        """End the track with its last sighting; no frame can be added any more."""
        block = self._cropper.finish(self._known(), self._base)
        return FinishedTrack(
            track_id=self.track_id,
            start=self.start,
            first_box=self.first_box,
            last_box=self.box,
            face_px=float(np.median(self._sides)),
            appearance=self.appearance,
            valid=np.array(self._valid, np.uint8),
            score=np.array(self._scores, np.float16),
            block=block,
        )

    def _known(self) -> np.ndarray:
        return self._points[: len(self) - self._base]

    def _settle(self, block: Block) -> None:
        """Pass on frames that will not change any more."""
        assert self._on_chunk is not None
        span = slice(self._num_sent, self._num_sent + len(block))
        self._num_sent = span.stop
        self._on_chunk(
            TrackChunk(
                track_id=self.track_id,
                start=self.start + span.start,
                valid=np.array(self._valid[span], np.uint8),
                score=np.array(self._scores[span], np.float16),
                block=block,
            )
        )

    def _fill_gap(self, points: np.ndarray) -> None:
        gap, self.lost = self.lost, 0
        if not gap:
            return
        last = self._points[len(self) - self._base - 1].copy()
        for i in range(1, gap + 1):
            if gap <= self._max_gap:
                share = np.float32(i / (gap + 1))
                self._append(last + (points - last) * share, INTERPOLATED, 0.0)
            else:
                self._append(last, MISSING, 0.0)

    def _append(self, points: np.ndarray, valid: int, score: float) -> None:
        if len(self) - self._base == len(self._points):
            self._make_room()
        self._points[len(self) - self._base] = points
        self._valid.append(valid)
        self._scores.append(score)

    def _make_room(self) -> None:
        """Drop landmarks that are not needed any more, or take more memory."""
        unneeded = self._cropper.oldest_needed - self._base
        if unneeded > len(self._points) // 2:
            kept = self._points[unneeded:].copy()
            self._points[: len(kept)] = kept
            self._base += unneeded
        else:
            self._points = np.concatenate([self._points, np.empty_like(self._points)])
