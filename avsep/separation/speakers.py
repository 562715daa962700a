"""Speakers on the time line of a recording: what the model sees of each, and when."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np

from avsep.errors import CheckError
from avsep.faces.stillness import FaceSpan, never_moves
from avsep.schema import ANALYSIS_SIZE, FPS, MISSING, Cues
from avsep.separation.config import SeparateConfig
from avsep.separation.left_out import LeftOut, Why
from avsep.separation.recording import Timeline
from avsep.separation.track_linking import SpeakerTrack, link_tracklets
from avsep.separation.tracking import Tracklet

BOX_MARGIN = 1.5  # side of the analysis square over the side of the face box


class Speaker:
    """One face over the whole recording, F frames.

    While the face is away, its last frame is repeated (before it first appears, the first one) and
    marked as missing; the models treat that as a mouth that does not move.

    Attributes:
        number: counted from 1.
        valid: (F,) uint8, see `avsep.schema.Landmarks`.
        score: (F,) float16, confidence of the landmarks; 0 where there are none.
    """

    def __init__(self, number: int, track: SpeakerTrack, num_frames: int) -> None:
        self.number = number
        self.valid = np.full(num_frames, MISSING, np.uint8)
        self.score = np.zeros(num_frames, np.float16)
        self._tracklets = track.tracklets
        self._which = np.zeros(num_frames, np.int32)  # tracklet shown in each frame
        self._place = np.zeros(num_frames, np.int32)  # and the frame of that tracklet
        for index, tracklet in enumerate(self._tracklets):
            span = slice(tracklet.start, tracklet.stop)
            self.valid[span], self.score[span] = tracklet.valid, tracklet.score
            self._which[tracklet.start :] = index
            self._place[span] = np.arange(len(tracklet.valid))
            self._place[tracklet.stop :] = len(tracklet.valid) - 1

    @property
    def first_frame(self) -> int:
        """Frame in which the face is visible for the first time."""
        return self._tracklets[0].start

    @property
    def spans(self) -> list[tuple[int, int]]:
        """First frame and frame after the last of each span in which the face is tracked."""
        edges = np.flatnonzero(np.diff(np.concatenate([[0], self.valid != MISSING, [0]])))
        return [(int(a), int(b)) for a, b in zip(edges[::2], edges[1::2], strict=True)]

    def cues(self, first: int, stop: int) -> Cues:
        """What the model sees in frames first..stop, without batch axis."""
        lips, points = [], []
        for tracklet, places in self._runs(first, stop):
            low = int(places[0])
            local = slice(low, int(places[-1]) + 1)
            lips.append(tracklet.arrays.lips[local][places - low])
            points.append(tracklet.arrays.points[local][places - low].astype(np.float32))
        return Cues(
            lips=np.concatenate(lips),
            landmarks=np.concatenate(points),
            valid=self.valid[first:stop].copy(),
        )

    def squares(self, first: int, stop: int) -> np.ndarray:
        """(n, 3) float32: left, top and side of the face box, in source pixels.

        It is the smoothed bounding square of the landmarks, repeated while the face is away.
        """
        found = []
        for tracklet, places in self._runs(first, stop):
            low = int(places[0])
            found.append(tracklet.arrays.squares[low : int(places[-1]) + 1][places - low])
        squares = np.concatenate(found)
        side = squares[:, 2] / BOX_MARGIN
        return np.stack(
            [
                squares[:, 0] + (squares[:, 2] - side) / 2,
                squares[:, 1] + (squares[:, 2] - side) / 2,
                side,
            ],
            axis=1,
        )

    def source_points(self, first: int, stop: int) -> np.ndarray:
        """(n, 68, 2) float32: the landmarks in source pixels, pixel centres at integers."""
        found = []
        for tracklet, places in self._runs(first, stop):
            low = int(places[0])
            local = slice(low, int(places[-1]) + 1)
            squares = tracklet.arrays.squares[local][places - low]
            points = tracklet.arrays.points[local][places - low].astype(np.float32)[:, :, :2]
            step = squares[:, 2] / ANALYSIS_SIZE
            found.append((points + 0.5) * step[:, None, None] + squares[:, None, :2] - 0.5)
        return np.concatenate(found)

    def gains(self, config: SeparateConfig) -> np.ndarray:
        """(F,) float32 in 0..1, see `gains_of`."""
        return gains_of(self.valid, config)

    def _runs(self, first: int, stop: int) -> Iterator[tuple[Tracklet, np.ndarray]]:
        which, place = self._which[first:stop], self._place[first:stop]
        edges = np.flatnonzero(np.diff(which)) + 1
        for low, high in pairwise([0, *edges.tolist(), len(which)]):
            yield self._tracklets[which[low]], place[low:high]


def gains_of(valid: np.ndarray, config: SeparateConfig) -> np.ndarray:
    """The gain of a voice in each frame: it falls the longer the face is away.

    Args:
        valid: (F,) uint8, see `avsep.schema.Landmarks`.
        config: how long a voice is held, and how long it fades.

    Returns:
        (F,) float32 in 0..1; all 0 if the face is never visible.
    """
    seen = np.flatnonzero(valid != MISSING)
    if not len(seen):
        return np.zeros(len(valid), np.float32)
    frames = np.arange(len(valid))
    after = np.searchsorted(seen, frames).clip(max=len(seen) - 1)
    before = (np.searchsorted(seen, frames, side="right") - 1).clip(min=0)
    away = np.minimum(np.abs(seen[after] - frames), np.abs(frames - seen[before]))
    share = 1 - (away / FPS - config.hold_s) / config.away_fade_s
    return share.clip(0, 1).astype(np.float32)


def find_speakers(
    tracklets: Sequence[Tracklet], timeline: Timeline, config: SeparateConfig, name: str
) -> tuple[list[Speaker], list[LeftOut]]:
    """The speakers of a recording, and the faces that are not among them.

    Returns:
        Speakers by first appearance, then from left to right; tracked faces that get no voice.

    Raises:
        CheckError: there is no face that moves, or fewer than asked for.
    """
    left_out: list[LeftOut] = []

    def keep(tracks: list[SpeakerTrack], kept: list[SpeakerTrack], why: Why) -> list[SpeakerTrack]:
        left_out.extend(_left_out(t, timeline, why) for t in tracks if t not in kept)
        return kept

    faces = link_tracklets(tracklets)
    tracks = keep(faces, [t for t in faces if t.seen_frames >= config.min_seen_s * FPS], Why.BRIEF)
    if not tracks:
        raise CheckError(
            f"no face is visible for {config.min_seen_s:g} s in {name}; the voices are separated by"
            " the faces of the speakers."
        )
    if not config.keep_still:
        tracks = keep(tracks, [t for t in tracks if not _never_moves(t, timeline)], Why.STILL)
    still = sum(face.why is Why.STILL for face in left_out)
    hint = f" {still} more never move, as in a photograph; --keep-still counts them." * bool(still)
    if not tracks:
        raise CheckError(
            f"no face in {name} moves, as in a photograph; separate them with --keep-still."
        )
    if config.speakers > len(tracks):
        raise CheckError(
            f"{config.speakers} speakers were asked for, but {len(tracks)} face(s) found in {name};"
            f" ask for fewer, or leave --speakers out.{hint}"
        )
    if config.speakers:
        longest = sorted(tracks, key=lambda track: -track.seen_frames)[: config.speakers]
        tracks = keep(tracks, [track for track in tracks if track in longest], Why.NOT_ASKED_FOR)
    speakers = [Speaker(n, track, timeline.num_frames) for n, track in enumerate(tracks, start=1)]
    if missing := sorted(set(config.only) - {speaker.number for speaker in speakers}):
        raise CheckError(
            f"there is no speaker {', '.join(map(str, missing))} in {name};"
            f" choose from 1 to {len(speakers)}."
        )
    return [s for s in speakers if not config.only or s.number in config.only], left_out


def _never_moves(track: SpeakerTrack, timeline: Timeline) -> bool:
    spans = [
        FaceSpan(
            points=tracklet.arrays.points,
            squares=tracklet.arrays.squares,
            valid=tracklet.valid,
            face_px=float(tracklet.first_box[2]),
        )
        for tracklet in track.tracklets
    ]
    return never_moves(spans, timeline.width, timeline.height)


def _left_out(track: SpeakerTrack, timeline: Timeline, why: Why) -> LeftOut:
    x, y, side = (float(value) for value in track.tracklets[0].first_box)
    return LeftOut(
        why=why,
        seen_s=tuple(
            (
                round(timeline.start_s + tracklet.start / FPS, 3),
                round(timeline.start_s + tracklet.stop / FPS, 3),
            )
            for tracklet in track.tracklets
        ),
        box=(round(x - side / 2, 1), round(y - side / 2, 1), round(side, 1)),
        face_px=side,
    )
