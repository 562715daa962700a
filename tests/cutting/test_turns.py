"""Who speaks when, in scenes of demo heads whose turns are known."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from avsep.cutting.activity import OFF_SCREEN, OVERLAP, SILENT, Face, speech_frames, who_speaks
from avsep.cutting.config import CuttingConfig
from avsep.cutting.framing import Frame, clip_frame
from avsep.cutting.spans import Span, What, find_spans
from tests.support.turn_scene import CLIP_FRAMES, Scene, Turn, make_scene

CONFIG = CuttingConfig()


def face_of(opening: np.ndarray, start: int = 0, left: float = 0.0) -> Face:
    squares = np.tile(np.array([left, 50.0, 100.0]), (len(opening), 1))
    return Face(start, opening, np.ones(len(opening), np.bool_), squares)


def spans_of(scene: Scene, faces: list[Face]) -> list[Span]:
    labels = who_speaks(faces, speech_frames(scene.audio), CONFIG)
    return find_spans(labels, faces, scene.audio, CONFIG)


def drawn_turns(seed: int) -> tuple[tuple[int, int, int], list[Turn], int]:
    """A conversation of two that are seen and one that is not, with interruptions and pauses."""
    rng = np.random.default_rng(seed)
    one, other, unseen = rng.choice(16, 3, replace=False).tolist()
    turns, at = [], 10
    for kind in rng.permutation(["one", "other", "unseen", "both", "one", "other", "one", "other"]):
        who = {"one": [one], "other": [other], "unseen": [unseen], "both": [one, other]}[str(kind)]
        count = int(rng.integers(1, 4))
        for speaker in who:
            clips = tuple(rng.integers(0, 24, count).tolist())
            turns.append(Turn(speaker, at, clips, gain=float(rng.uniform(0.3, 1))))
        at += CLIP_FRAMES * count + int(rng.integers(-5, 30))
    return (one, other, unseen), turns, at + 20


@dataclass
class Score:
    right: int = 0
    taken: int = 0
    wanted: int = 0


@pytest.mark.slow
def test_single_speech_is_found_and_nothing_else() -> None:
    score = Score()
    for seed in (0, 3, 8):
        (one, other, _), turns, total = drawn_turns(seed)
        scene = make_scene(turns, [one, other], total, seed)
        faces = [face_of(scene.openings(speaker, seed)) for speaker in (one, other)]
        heard = np.any(list(scene.voices.values()), axis=0)
        found = {speaker: np.zeros(total, np.bool_) for speaker in (one, other)}
        for span in spans_of(scene, faces):
            if span.what == What.CLIP:
                assert CONFIG.min_s <= span.seconds <= CONFIG.max_s
                found[(one, other)[span.face]][span.start : span.stop] = True
        for speaker, taken in found.items():
            alone = scene.alone(speaker)
            score.right += int((taken & alone).sum())
            score.taken += int((taken & heard).sum())
            score.wanted += int(alone.sum())
    # Over twelve longer scenes: 1.000 and 0.975.
    assert score.right / score.taken >= 0.95
    assert score.right / score.wanted >= 0.9


@pytest.mark.slow
def test_a_voice_from_outside_gives_no_clip_even_if_a_listener_chews_or_laughs() -> None:
    scene = make_scene([Turn(3, 10, (1, 2, 3))], [0], 260, 1)
    still = scene.openings(0, 1)
    spans = spans_of(scene, [face_of(still)])
    assert What.CLIP not in {span.what for span in spans}
    marked = [span for span in spans if span.what == What.OFF_SCREEN]
    assert sum(span.stop - span.start for span in marked) > 150
    for rate_hz in (0.9, 1.6, 4.0):
        chewing = still + 0.06 * np.sin(2 * np.pi * rate_hz * np.arange(260) / 25)
        spans = spans_of(scene, [face_of(chewing)])
        assert What.CLIP not in {span.what for span in spans}, rate_hz


@pytest.mark.slow
def test_the_sound_of_another_sentence_is_less_in_step() -> None:
    own, other = (make_scene([Turn(3, 10, clips)], [3], 180, 1) for clips in ((1, 2), (7, 9)))
    face = face_of(own.openings(3, 1))
    (clip,) = [span for span in spans_of(own, [face]) if span.what == What.CLIP]
    assert clip.score > 0.4
    assert all(span.score < 0.6 * clip.score for span in spans_of(other, [face]))


# --- spans, from labels alone


def labelled(*parts: tuple[int, int]) -> np.ndarray:
    return np.concatenate([np.full(count, label) for label, count in parts])


def noisy_sound(frames: int) -> np.ndarray:
    """Sound whose loudness changes from frame to frame, and the openings that follow it."""
    loud = np.random.default_rng(0).uniform(100, 9000, frames)
    return np.repeat(loud, 640).astype(np.int16)


def in_step_face(audio: np.ndarray, start: int, stop: int) -> Face:
    level = np.log(audio.reshape(-1, 640)[:, 0].astype(float))
    smooth = np.convolve(np.pad(level, 1, mode="edge"), np.ones(3) / 3, mode="valid")
    return face_of(smooth[start:stop] / 10, start)


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        # A pause of a second is part of a clip, a longer one is not.
        (labelled((0, 60), (SILENT, 25), (0, 60)), [(0, 145)]),
        (labelled((0, 60), (SILENT, 26), (0, 60)), [(0, 64), (82, 146)]),
        # Where another voice follows at once, the end is cut off; after a pause, some is kept.
        (labelled((0, 100), (OFF_SCREEN, 50)), [(0, 93)]),
        (labelled((OVERLAP, 30), (0, 100), (SILENT, 20)), [(37, 134)]),
        # Shorter than two seconds.
        (labelled((SILENT, 30), (0, 40), (SILENT, 30)), []),
    ],
)
def test_where_clips_start_and_end(labels: np.ndarray, expected: list[tuple[int, int]]) -> None:
    audio = noisy_sound(len(labels))
    face = in_step_face(audio, 0, len(labels))
    spans = find_spans(labels, [face], audio, CONFIG)
    clips = [(span.start, span.stop) for span in spans if span.what == What.CLIP]
    assert clips == expected


def test_no_clip_goes_over_a_cut_or_a_time_without_the_face() -> None:
    audio = noisy_sound(300)
    one, other = in_step_face(audio, 0, 150), in_step_face(audio, 150, 300)
    labels = labelled((0, 150), (1, 150))
    clips = [s for s in find_spans(labels, [one, other], audio, CONFIG) if s.what == What.CLIP]
    assert [(s.face, s.start, s.stop) for s in clips] == [(0, 0, 143), (1, 157, 300)]
    one.seen[70:80] = False
    labels = labelled((0, 70), (SILENT, 10), (0, 70), (SILENT, 150))
    clips = [s for s in find_spans(labels, [one, other], audio, CONFIG) if s.what == What.CLIP]
    assert [(s.start, s.stop) for s in clips] == [(0, 70), (80, 150)]


def test_long_speech_is_divided_in_a_pause() -> None:
    audio = noisy_sound(1300)
    audio[400 * 640 : 410 * 640] = 0
    labels = labelled((0, 400), (SILENT, 10), (0, 890))
    face = in_step_face(np.maximum(audio, 1), 0, 1300)
    clips = [s for s in find_spans(labels, [face], audio, CONFIG) if s.what == What.CLIP]
    assert len(clips) in (3, 4)
    assert clips[0].start == 0
    assert 400 <= clips[0].stop <= 410
    assert [a.stop for a in clips[:-1]] == [b.start for b in clips[1:]]
    assert clips[-1].stop == 1300
    assert all(50 <= clip.stop - clip.start <= 500 for clip in clips)


# --- pictures


def test_a_clip_shows_its_face_and_no_other() -> None:
    size = {"margin": 1.2, "width": 640, "height": 361}
    face = face_of(np.zeros(50), left=200.0)
    assert clip_frame(face, [], 0, 50, **size) == Frame(190, 40, 310, 160)
    # The other one reaches into it: its picture ends half way between the two.
    near = face_of(np.zeros(50), left=290.0)
    frame = clip_frame(face, [near], 0, 50, **size)
    assert frame is not None
    assert frame.left == 190
    assert frame.right <= 295
    assert (frame.right - frame.left) % 2 == 0
    # It comes later, or is far away: nothing changes.
    later = face_of(np.zeros(50), start=60, left=290.0)
    assert clip_frame(face, [later, face_of(np.zeros(50), left=500.0)], 0, 50, **size) == (
        clip_frame(face, [], 0, 50, **size)
    )
    # Cheek to cheek: one cannot be shown alone.
    assert clip_frame(face, [face_of(np.zeros(50), left=250.0)], 0, 50, **size) is None
    # At the edge of the picture.
    edge = clip_frame(face_of(np.zeros(50), left=-30.0), [], 0, 50, **size)
    assert edge is not None
    assert edge.left == 0
