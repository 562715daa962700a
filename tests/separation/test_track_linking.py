"""Faces that are cut away, swap sides, cross or come back stay themselves, or are split."""

from __future__ import annotations

import numpy as np
import pytest

from avsep.progress import hidden_progress
from avsep.separation import SeparateConfig
from avsep.separation.recording import ArrayRecording
from avsep.separation.track_linking import link_tracklets
from avsep.separation.tracking import Tracklet, track_faces
from tests.support.echo import pictures
from tests.support.face_scene import ColourBackend, Pose

A, B, C = 0, 1, 2


def speaker_spans(tmp_path, poses, num_frames, shots=((0, 0),)):
    """The spans of each speaker, as tracked and linked."""
    frames = pictures(poses, num_frames, shots)
    recording = ArrayRecording(frames, np.zeros(num_frames * 640, np.float32), 16_000, tmp_path)
    config = SeparateConfig()
    tracklets, _ = track_faces(recording, config, ColourBackend(), tmp_path, hidden_progress)
    return [[(t.start, t.stop) for t in track.tracklets] for track in link_tracklets(tracklets)]


def at(who, x, side=80.0):
    return Pose(who, x, 120, side)


def test_a_face_that_is_cut_back_to_is_the_same_speaker(tmp_path):
    def poses(index):
        return [at(B, 200)] if 40 <= index < 80 else [at(A, 110)]

    found = speaker_spans(tmp_path, poses, 120, shots=((0, 1), (40, 2), (80, 1)))
    assert found == [[(0, 40), (80, 120)], [(40, 80)]]


def test_faces_that_swap_sides_in_a_cut_are_not_swapped(tmp_path):
    def poses(index):
        left, right = (A, B) if index < 40 else (B, A)
        return [at(left, 90), at(right, 230)]

    found = speaker_spans(tmp_path, poses, 80)
    # Whatever is linked must be the same face: the tracks of A and B never mix.
    for spans in found:
        assert len(spans) <= 2
    assert len(found) in (2, 4)


@pytest.mark.slow
def test_a_face_that_is_away_for_long_comes_back_as_itself(tmp_path):
    def poses(index):
        return [at(A, 90), *([] if 40 <= index < 100 else [at(B, 230)])]

    stays, back = speaker_spans(tmp_path, poses, 140)
    assert stays == [(0, 140)]
    assert back[0] == (0, 40)
    assert back[1][0] < 100 + 8  # found by the next run of the detector
    assert back[1][1] == 140


def test_another_face_in_the_same_place_is_another_speaker(tmp_path):
    def poses(index):
        return [] if 40 <= index < 80 else [at(A if index < 40 else C, 150)]

    assert speaker_spans(tmp_path, poses, 120) == [[(0, 40)], [(80, 120)]]


def tracklet(start, stop, appearance, x=100.0, side=80.0) -> Tracklet:
    box = np.array([x, 120.0, side])
    return Tracklet(
        start=start,
        stop=stop,
        first_box=box,
        last_box=box,
        appearance=np.stack([appearance, appearance]),
        valid=np.ones(stop - start, np.uint8),
        score=np.ones(stop - start, np.float16),
        arrays=None,
    )


def appearance_at(angle: float) -> np.ndarray:
    """Appearances that correlate by the cosine of the angle between them, in degrees."""
    vector = np.zeros(432, np.float32)
    vector[:2] = np.cos(np.radians(angle)), np.sin(np.radians(angle))
    return vector


@pytest.mark.parametrize(("angle", "count"), [(40, 1), (50, 2)])
def test_the_appearance_decides_when_the_place_differs(angle, count):
    parts = [tracklet(0, 50, appearance_at(0)), tracklet(60, 100, appearance_at(angle), x=300)]
    assert len(link_tracklets(parts)) == count


def test_in_the_same_place_the_appearance_may_differ_more_for_a_while():
    near = [tracklet(0, 50, appearance_at(0)), tracklet(60, 100, appearance_at(55), x=110)]
    assert len(link_tracklets(near)) == 1
    later = [tracklet(0, 50, appearance_at(0)), tracklet(400, 440, appearance_at(55), x=110)]
    assert len(link_tracklets(later)) == 2


def test_a_fragment_that_fits_two_speakers_is_split_off():
    parts = [
        tracklet(0, 50, appearance_at(0)),
        tracklet(0, 50, appearance_at(30), x=300),
        tracklet(60, 100, appearance_at(14), x=200),
    ]
    assert len(link_tracklets(parts)) == 3


def test_two_fragments_that_fit_one_speaker_leave_it_alone():
    parts = [
        tracklet(0, 50, appearance_at(0)),
        tracklet(60, 100, appearance_at(5), x=90),
        tracklet(61, 100, appearance_at(-5), x=300),
    ]
    assert len(link_tracklets(parts)) == 3


def test_faces_that_are_visible_together_are_never_linked():
    parts = [tracklet(0, 50, appearance_at(0)), tracklet(30, 90, appearance_at(0), x=300)]
    assert len(link_tracklets(parts)) == 2


def test_speakers_are_numbered_by_first_appearance_then_from_left_to_right():
    parts = [
        tracklet(0, 50, appearance_at(0), x=300),
        tracklet(3, 50, appearance_at(90), x=100),
        tracklet(80, 120, appearance_at(180), x=10),
    ]
    assert [track.tracklets[0].first_box[0] for track in link_tracklets(parts)] == [100, 300, 10]


def test_short_fragments_in_a_row_are_one_speaker():
    parts = [tracklet(start, start + 8, appearance_at(0)) for start in range(0, 40, 8)]
    assert len(link_tracklets(parts)) == 1
