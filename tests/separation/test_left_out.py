"""Every face gets a voice, and each one that gets none is named with its reason."""

from __future__ import annotations

import json

import numpy as np
import pytest

from avsep.errors import CheckError
from avsep.faces.stillness import FaceSpan, movement, moves, never_moves
from avsep.media.decode import read_frames
from avsep.progress import hidden_progress
from avsep.schema import ANALYSIS_SIZE, DETECTED, INTERPOLATED
from avsep.separation import SeparateConfig, Separation, Separator
from avsep.separation.live_files import separate_live
from avsep.separation.recording import ArrayRecording
from avsep.separation.sounds import Pcm
from avsep.separation.speakers import BOX_MARGIN, find_speakers
from avsep.separation.tracking import track_faces
from avsep.separation.videos import write_videos
from tests.support.clip_maker import make_clip
from tests.support.echo import RATE_HZ, Echo, noise, pictures
from tests.support.face_scene import FACE, PHOTOGRAPH, ColourBackend, Pose, talking

FRAMES = 40
GALLERY = [Pose(who, 100 + 160 * (who % 4), 100 + 160 * (who // 4), 70) for who in range(8)]


def separate(poses: list[Pose], **settings: object) -> Separation:
    frames = pictures(lambda index: poses, FRAMES, size=(640, 360))
    separator = Separator(Echo(), SeparateConfig(**settings), ColourBackend())
    return separator.separate((frames, noise(FRAMES * 640), RATE_HZ))


def reasons(made: Separation) -> list[str]:
    return [face["reason"] for face in made.facts["left_out"]]


@pytest.mark.slow
def test_all_faces_get_a_voice() -> None:
    made = separate(GALLERY[:7])
    assert len(made.speakers) == 7
    assert made.facts["left_out"] == []
    assert made.facts["notes"] == []


@pytest.mark.slow
def test_faces_beyond_the_limit_are_counted() -> None:
    made = separate(GALLERY[:7], max_faces=3)
    assert len(made.speakers) == 3
    assert reasons(made) == ["over_limit"] * 4
    assert made.facts["notes"] == [
        "4 face(s) left out, each of which is beyond the limit of 3 at a time (--max-faces)."
    ]


@pytest.mark.slow
def test_photograph_is_not_a_speaker_and_is_listed() -> None:
    made = separate(GALLERY)
    assert len(made.speakers) == 7
    (photograph,) = made.facts["left_out"]
    assert photograph["reason"] == "still"
    assert photograph["seen_s"] == [[0.0, FRAMES / 25]]
    left, top, side = photograph["box"]
    place = GALLERY[PHOTOGRAPH]
    assert left + side / 2 == pytest.approx(place.x, abs=2)
    assert top + side / 2 == pytest.approx(place.y, abs=2)
    json.dumps(made.summary())


def test_photograph_is_a_speaker_on_demand() -> None:
    made = separate([GALLERY[0], GALLERY[PHOTOGRAPH]], keep_still=True)
    assert len(made.speakers) == 2


def test_photograph_alone_is_one_sentence() -> None:
    with pytest.raises(CheckError, match=r"no face in frames moves.*--keep-still"):
        separate([GALLERY[PHOTOGRAPH]])


def test_photograph_does_not_count_as_a_speaker_asked_for() -> None:
    with pytest.raises(CheckError, match=r"2 speakers were asked for.*1 more never move"):
        separate([GALLERY[0], GALLERY[PHOTOGRAPH]], speakers=2)


@pytest.mark.slow
def test_faces_that_were_not_asked_for_are_listed() -> None:
    assert reasons(separate(GALLERY[:3], speakers=2)) == ["not_asked_for"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("third", "settings", "reason"),
    [
        (Pose(2, 420, 260, 70), {"max_faces": 2}, "over_limit"),
        (Pose(2, 400, 200, 24), {}, "too_small"),
    ],
)
def test_a_live_stream_lists_the_faces_without_a_voice(
    tmp_path, monkeypatch, third, settings, reason
) -> None:
    frames = pictures(lambda index: [*GALLERY[:2], third], FRAMES, size=(640, 360))
    path = make_clip(
        tmp_path / "talk.mkv",
        pictures=list(frames),
        audio=(noise(FRAMES * 640) * 32767).astype(np.int16)[:, None],
        audio_codec="pcm_s16le",
    )
    # The backend of this test reads colours, which a codec changes.
    monkeypatch.setattr("avsep.media.decode.read_pictures", lambda *_: iter(frames))
    separator = Separator(Echo(), SeparateConfig(**settings), ColourBackend())
    made = separate_live(separator, path, tmp_path / "out", hidden_progress)
    listed = json.loads((tmp_path / "out" / "tracks.json").read_text("utf-8"))
    assert [face["reason"] for face in listed["left_out"]] == [reason]
    assert listed["notes"] == list(made.notes)
    assert made.notes[0].startswith("1 face(s) left out")
    assert [speaker["speaker"] for speaker in listed["speakers"]] == [1, 2]
    assert listed["speakers"][0]["seen_s"] == [[0.0, pytest.approx(FRAMES / 25, abs=0.05)]]
    assert set(listed["files"]) == {file.name for file in (tmp_path / "out").iterdir()}
    separate_live(separator, path, tmp_path / "out", hidden_progress)  # which replaces them


def test_faces_that_are_too_small_are_listed() -> None:
    made = separate([GALLERY[0], Pose(1, 400, 200, 24)])
    assert len(made.speakers) == 1
    assert reasons(made) == ["too_small"]
    assert made.facts["left_out"][0]["face_px"] == pytest.approx(24, abs=1)


def test_only_small_faces_are_named_in_the_error() -> None:
    with pytest.raises(CheckError, match=r"1 face.* smaller than 32 pixels"):
        separate([Pose(1, 400, 200, 24)])


def test_camera_motion_is_not_movement_of_the_face() -> None:
    turn = np.linspace(0, 0.5, 50)
    rotation = np.stack([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    grow = np.linspace(1, 2, 50)[:, None, None]
    panned = np.einsum("ijt,nj->tni", rotation, FACE[:, :2]) * grow + 40 * turn[:, None, None]
    assert movement(panned) < 1e-9
    rng = np.random.default_rng(0)
    assert movement(panned + rng.normal(0, 0.004, panned.shape)) < 0.008
    talker = np.stack([talking(index) for index in range(50)])
    assert movement(talker) > 0.015


def span_of(faces: np.ndarray, left_px: np.ndarray) -> FaceSpan:
    """(T, 68, 3) faces of side 1 that are 100 pixels wide, with their left edges."""
    count = len(faces)
    return FaceSpan(
        points=ANALYSIS_SIZE * (faces / BOX_MARGIN + (0.5, 0.5, 0)),
        squares=np.stack([left_px - 25, np.full(count, 100.0), np.full(count, 150.0)], axis=1),
        valid=np.full(count, DETECTED),
        face_px=100.0,
    )


def test_photograph_that_leaves_the_picture_is_still_and_a_talker_cut_off_is_not() -> None:
    rng = np.random.default_rng(0)
    photograph = np.repeat(FACE[None], 150, axis=0)
    photograph[100:] += np.cumsum(rng.normal(0, 0.02, (50, 68, 3)), axis=0)  # guesses
    leaves = np.where(np.arange(150) < 100, 400.0, 600.0)
    assert never_moves([span_of(photograph, leaves)], 640, 360)
    assert not never_moves([span_of(photograph, np.full(150, 400.0))], 640, 360)
    talker = np.stack([talking(index) for index in range(150)])
    for left_px in (np.full(150, 600.0), np.full(150, 400.0), leaves):
        assert not never_moves([span_of(talker, left_px)], 640, 360)


def test_what_is_seen_too_briefly_to_tell_is_not_still() -> None:
    photograph = np.repeat(FACE[None], 150, axis=0)
    brief, inside = span_of(photograph[:9], np.full(9, 400.0)), np.full(150, 400.0)
    assert moves(brief.points, brief.valid, 100.0) is None
    assert not never_moves([brief], 640, 360)
    assert not never_moves([brief, brief], 640, 360)
    hidden = span_of(photograph, inside)
    hidden.valid[np.arange(150) % 30 > 2] = INTERPOLATED
    assert not never_moves([hidden], 640, 360)
    # Beside what is long enough it changes nothing.
    assert never_moves([brief, span_of(photograph, inside)], 640, 360)
    talker = np.stack([talking(index) for index in range(150)])
    assert not never_moves([brief, span_of(talker, inside)], 640, 360)


@pytest.mark.slow
def test_no_box_stands_beside_a_head_before_it_is_seen(tmp_path) -> None:
    def poses(index: int) -> list[Pose]:
        return [Pose(0, 100, 100, 70)] + ([Pose(1, 500, 180, 70)] if index >= 20 else [])

    frames = pictures(poses, 60, size=(640, 360))
    recording = ArrayRecording(frames, noise(60 * 640), RATE_HZ, tmp_path)
    config = SeparateConfig(min_seen_s=0.5)
    tracklets, _ = track_faces(recording, config, ColourBackend(), tmp_path, hidden_progress)
    speakers, _ = find_speakers(tracklets, recording.timeline, config, "frames")
    late = next(speaker for speaker in speakers if speaker.first_frame >= 20)
    voice = Pcm(recording.mixture)
    write_videos(tmp_path, recording, [late], [voice], 1.5, hidden_progress)
    shown = list(read_frames(tmp_path / "overview.mp4", 0.0, 60))
    box = np.s_[100:260, 420:580]
    coloured = [
        int((np.abs(frame[box].astype(int) - picture[box]) > 60).sum())
        for frame, picture in zip(frames, shown, strict=True)
    ]
    assert max(coloured[:20]) == 0
    assert min(coloured[late.first_frame :]) > 200
