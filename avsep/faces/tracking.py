"""Track faces through a clip in one pass: detect now and then, and track by landmarks in between.

When in doubt, a track is split and never continued with another face: two short samples of one
person do no harm, but one sample of two people does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import accumulate

import numpy as np

from avsep.faces.appearance import face_patch
from avsep.faces.backends import Detection, Estimate, FaceBackend
from avsep.faces.config import SMALLEST_DETECTED, FacesConfig
from avsep.faces.crops import CROP_SCALE, LOST_CROP_SCALE, GreyCrop, grey_crop
from avsep.faces.cuts import CutDetector
from avsep.faces.geometry import face_boxes
from avsep.faces.lookahead import Lookahead
from avsep.faces.matching import duplicate_tracks, is_near, same_face
from avsep.faces.mouth_cropper import BLOCK
from avsep.faces.pictures import Picture
from avsep.faces.search_schedule import SearchSchedule
from avsep.faces.timing import StepTimer
from avsep.faces.track import FaceTrack, FinishedTrack, Sighting, TrackChunk

STEP_SHARE = 0.5  # most that a face may move per frame, relative to its side
RESUME_SHARE = 1.0  # most that a face may move while it is lost, relative to its side
SURVEY_EVERY = 250  # frames between two searches for faces that are too small to be tracked
SEARCH_SCALE = 3.0  # side of the part searched for a lost face, relative to the side of its box


@dataclass
class Tracks:
    """The face tracks of a clip.

    Attributes:
        kept: tracks that are long enough, by first frame, then from left to right.
        spans: first frame and frame after the last of every track, including dropped ones.
        over_limit: largest number of faces in one frame that were left out because of `max_faces`.
        too_small: sides of the faces that are too small to be tracked, in pixels, in the frame with
            the most of them, largest first. Only a few frames are searched for these.
        num_frames: number of frames in the clip.
        width: width of the pictures, in pixels.
        height: height of the pictures, in pixels.
    """

    kept: list[FinishedTrack] = field(default_factory=list)
    spans: list[tuple[int, int]] = field(default_factory=list)
    over_limit: int = 0
    too_small: tuple[float, ...] = ()
    num_frames: int = 0
    width: int = 0
    height: int = 0

    @property
    def most_at_once(self) -> int:
        """Largest number of tracked faces in one frame."""
        changes = sorted([(stop, -1) for _, stop in self.spans] + [(a, 1) for a, _ in self.spans])
        return max(accumulate(change for _, change in changes), default=0)


class Tracker:
    """Tracks the faces of one clip.

    Args:
        config: settings of the tracking.
        backend: finds faces and their landmarks.
        timer: adds up the time per step.
        on_chunk: called with landmarks and mouths of all tracks, including ones dropped later, as
            soon as they are final, so that memory does not grow with the clip; None keeps them.
        block: number of frames per chunk.
    """

    def __init__(
        self,
        config: FacesConfig,
        backend: FaceBackend,
        timer: StepTimer,
        on_chunk: Callable[[TrackChunk], None] | None = None,
        block: int = BLOCK,
    ) -> None:
        self._on_chunk = on_chunk
        self._block = block
        self._config = config
        self._backend = backend
        self._timer = timer
        self._active: list[FaceTrack] = []
        self._next_track_id = 0
        self._result = Tracks()

    @property
    def active(self) -> tuple[FaceTrack, ...]:
        """The tracks that have not ended yet."""
        return tuple(self._active)

    def run(self, frames: Iterable[np.ndarray | Picture]) -> Tracks:
        """Track the faces through pictures of one size, or frames (H, W, 3) uint8 RGB.

        Raises:
            ValueError: a frame is not an RGB picture, or its size differs from that of the first.
        """
        for _ in self.steps(frames):
            pass
        return self.finish()

    def steps(self, frames: Iterable[np.ndarray | Picture]) -> Iterator[int]:
        """As `run`, frame by frame; call `finish` at the end. Yields the number of frames done.

        Raises:
            ValueError: a frame is not an RGB picture, or its size differs from that of the first.
        """
        result = self._result
        cuts = CutDetector(self._config.cut_distance)
        self._ahead = Lookahead(frames, self._backend, self._timer, cuts)
        for picture in self._ahead:
            if not result.num_frames:
                result.height, result.width = picture.shape[:2]
                self._smallest = self._config.smallest_face(result.width, result.height)
                self._schedule = SearchSchedule(self._config, result.width, result.height)
            self._step(result.num_frames)
            result.num_frames += 1
            yield result.num_frames

    def finish(self) -> Tracks:
        """End the tracks that are still active; returns all tracks."""
        result = self._result
        self._close(self._active)
        result.kept.sort(key=lambda track: (track.start, track.first_x))
        return result

    def _step(self, index: int) -> None:
        cut = self._ahead.cut
        active = len(self._active)
        seen = self._update_tracks(self._ahead.pixels(), cut) if active else {}
        split = len(self._active) < active
        lost = [track for track in self._active if track not in seen]
        sides = [float(sighting.box[2]) for sighting in seen.values()]
        smallest = self._schedule.smallest_face(
            index, min(sides, default=None), changed=cut or split
        )
        if smallest is None and not self._active and index % SURVEY_EVERY:
            return  # nobody needs the pixels of this picture
        frame = self._ahead.pixels()
        if smallest is not None:
            with self._timer.step("detect"):
                found = self._backend.detect(frame, smallest)
        else:
            found = [face for track in lost for face in self._search(frame, track)]
        self._add_detections(index, frame, found, seen)
        if index % SURVEY_EVERY == 0:
            self._survey(frame, seen)
        for track in self._active:
            if track in seen:
                with self._timer.step("warp"):
                    track.add_sighting(seen[track])
            else:
                track.add_miss(self._crop(frame, track.box, LOST_CROP_SCALE))
            with self._timer.step("track"):
                track.watch(frame)
        self._close([track for track in self._active if track.over])

    def _update_tracks(self, frame: np.ndarray, cut: bool) -> dict[FaceTrack, Sighting]:
        """Find the faces of the last frame in this one; ends tracks at cuts and on other faces."""
        with self._timer.step("track"):
            changed = [
                t for t in self._active if cut or t.shot_change(frame) > self._config.cut_distance
            ]
        self._close(changed)
        live = [track for track in self._active if not track.lost]
        estimates = self._ahead.estimate([t.track_id for t in live], [t.region for t in live])
        seen: dict[FaceTrack, Sighting] = {}
        others: list[FaceTrack] = []
        for track, estimate in zip(live, estimates, strict=True):
            sighting = self._sighting(frame, estimate)
            if sighting is None or not is_near(track, sighting.box, STEP_SHARE):
                continue
            if track.similarity_to_last(sighting) >= self._config.same_face:
                seen[track] = sighting
            else:
                others.append(track)
        self._close(others)
        for track in duplicate_tracks(seen):
            del seen[track]
        return seen

    def _add_detections(
        self,
        index: int,
        frame: np.ndarray,
        found: list[Detection],
        seen: dict[FaceTrack, Sighting],
    ) -> None:
        """Add detected faces to `seen`: faces that come back, and new ones."""
        left_out = 0
        for detection in sorted(found, key=lambda face: -face.side):
            place = np.array([detection.x, detection.y, detection.side])
            if any(same_face(place, sighting.box) for sighting in seen.values()):
                continue
            sighting = self._sighting(frame, self._ahead.estimate_new(detection.region))
            if sighting is None or any(
                same_face(sighting.box, other.box) for other in seen.values()
            ):
                continue
            if 0 < self._config.max_faces <= len(seen):
                left_out += 1
                continue
            track = self._returned(sighting, seen)
            if track is None:
                track = FaceTrack(
                    self._config, self._next_track_id, index, sighting, self._on_chunk, self._block
                )
                self._next_track_id += 1
                self._active.append(track)
            seen[track] = sighting
        self._result.over_limit = max(self._result.over_limit, left_out)

    def _survey(self, frame: np.ndarray, seen: dict[FaceTrack, Sighting]) -> None:
        """Note the faces that are visible but too small to be tracked."""
        with self._timer.step("detect"):
            found = self._backend.detect(frame, max(SMALLEST_DETECTED, self._smallest // 2))
        sides = []
        for detection in found:
            if detection.side >= self._smallest:
                continue
            sighting = self._sighting(frame, self._ahead.estimate_new(detection.region))
            if sighting is not None and not any(
                same_face(sighting.box, other.box) for other in seen.values()
            ):
                sides.append(detection.side)
        if len(sides) > len(self._result.too_small):
            self._result.too_small = tuple(sorted(sides, reverse=True))

    def _returned(self, sighting: Sighting, seen: dict[FaceTrack, Sighting]) -> FaceTrack | None:
        """The track of a lost face that comes back as `sighting`, if there is one."""
        lost = [track for track in self._active if track not in seen]
        lost.sort(key=lambda track: float(np.hypot(*(track.box[:2] - sighting.box[:2]))))
        for track in lost:
            if (
                is_near(track, sighting.box, RESUME_SHARE)
                and track.similarity_to_memory(sighting) >= self._config.resume_face
            ):
                return track
        return None

    def _search(self, frame: np.ndarray, track: FaceTrack) -> list[Detection]:
        """Detections around the last place of a lost face."""
        x, y, side = (float(value) for value in track.box)
        half = side * SEARCH_SCALE / 2
        left, top = max(0, int(x - half)), max(0, int(y - half))
        part = np.ascontiguousarray(frame[top : int(y + half) + 1, left : int(x + half) + 1])
        with self._timer.step("detect"):
            # The face was not smaller than this a moment ago, so one pass over the part is enough.
            found = self._backend.detect(part, max(self._smallest, int(side / 2)))
        return [face.moved(left, top) for face in found]

    def _sighting(self, frame: np.ndarray, estimate: Estimate) -> Sighting | None:
        """The sighting in an estimate; None when it shows no face inside the picture."""
        if estimate.score < self._backend.min_score:
            return None
        box = face_boxes(estimate.points[None])[0]
        height, width = frame.shape[:2]
        if not (0 <= box[0] < width and 0 <= box[1] < height and box[2] >= 8):
            return None
        crop = self._crop(frame, box, CROP_SCALE)
        with self._timer.step("track"):
            patch = face_patch(frame, box)
        return Sighting(
            points=estimate.points,
            score=estimate.score,
            region=estimate.region,
            box=box,
            crop=crop,
            patch=patch,
        )

    def _crop(self, frame: np.ndarray, box: np.ndarray, scale: float) -> GreyCrop:
        with self._timer.step("warp"):
            return grey_crop(frame, box, scale, self._config.roi_side_px)

    def _close(self, tracks: list[FaceTrack]) -> None:
        for track in list(tracks):
            self._active.remove(track)
            self._result.spans.append((track.start, track.start + len(track)))
            if len(track) >= self._config.min_track_frames:
                with self._timer.step("warp"):
                    self._result.kept.append(track.finish())
