"""In a clip with several faces, one that never moves gives no sample, and is counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from avsep.errors import ItemError, Reason
from avsep.extraction import clip as extraction
from avsep.extraction.config import ExtractionConfig
from avsep.faces.config import FacesConfig
from avsep.faces.extraction import without_still
from avsep.faces.timing import StepTimer
from avsep.faces.track import FinishedTrack
from avsep.faces.tracking import Tracks
from avsep.schema import ANALYSIS_SIZE, DETECTED, Clip, Sample
from tests.support.clip_maker import make_clip, raw_clip, speech_like
from tests.support.echo import pictures
from tests.support.face_scene import FACE, PHOTOGRAPH, ColourBackend, Pose, talking

FRAMES = 52
TALKER, OTHER = Pose(0, 60, 80, 60), Pose(1, 240, 80, 60)
PHOTO = Pose(PHOTOGRAPH, 150, 80, 60)


@pytest.fixture
def samples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Extracts a drawn clip; returns its samples and what was left out."""
    monkeypatch.setattr(extraction, "loaded_backend", lambda *_: ColourBackend())

    def extract(
        poses: Callable[[int], Sequence[Pose]], **settings: object
    ) -> tuple[list[Sample], dict[str, int]]:
        path = make_clip(
            tmp_path / "a.mkv", pictures=list(pictures(poses, FRAMES, size=(320, 160))),
            video_codec="ffv1", pixel_format="bgr0", audio=speech_like(FRAMES / 25)[:, None],
            audio_codec="pcm_s16le",
        )  # fmt: skip
        raw = raw_clip(path)
        clip = Clip(**vars(raw), kept=True, end_s=FRAMES / 25, width=320, height=160)
        config = ExtractionConfig(faces=FacesConfig(**settings))
        left_out: Counter[str] = Counter()
        try:
            return extraction.clip_samples(path, clip, config, StepTimer(), left_out), left_out
        finally:
            extract.left_out = +left_out

    return extract


@pytest.mark.slow
def test_photograph_beside_a_talker_gives_no_sample_and_is_counted(samples) -> None:
    found, left_out = samples(lambda i: [TALKER, PHOTO])
    assert [sample.meta["track"] for sample in found] == [0]
    assert left_out["still"] == 1
    # The clip counts as one of a single voice.
    assert not found[0].meta["multi_voice"]
    assert found[0].meta["quality"]["other_face_share"] == 0


@pytest.mark.slow
def test_photograph_gives_a_sample_on_demand(samples) -> None:
    found, left_out = samples(lambda i: [TALKER, PHOTO], keep_still=True)
    assert len(found) == 2
    assert left_out["still"] == 0
    assert found[0].meta["multi_voice"]


@pytest.mark.slow
def test_two_talkers_and_photographs_are_two_samples(samples) -> None:
    photos = [PHOTO, replace(PHOTO, y=20, side=30)]
    found, left_out = samples(lambda i: [TALKER, OTHER, photos[0]])
    assert len(found) == 2
    assert left_out["still"] == 1
    assert found[0].meta["multi_voice_reasons"] == ["faces_at_once"]


@pytest.mark.slow
def test_photograph_that_fills_a_shot_of_its_own_is_left_out(samples) -> None:
    found, left_out = samples(lambda i: [TALKER] if i < 26 else [PHOTO])
    assert [sample.num_frames for sample in found] == [26]
    assert left_out["still"] == 1


@pytest.mark.slow
def test_clip_of_photographs_is_dropped_with_its_reason(samples) -> None:
    with pytest.raises(ItemError, match=r"none of its 2 faces moves.*keep_still") as caught:
        samples(lambda i: [PHOTO] if i < 26 else [replace(PHOTO, x=60)])
    assert caught.value.reason is Reason.NO_FACE
    assert samples.left_out == {"still": 2}


@pytest.mark.slow
def test_face_that_is_alone_stays_though_it_never_moves(samples) -> None:
    found, left_out = samples(lambda i: [PHOTO])
    assert len(found) == 1
    assert left_out["still"] == 0
    assert found[0].meta["quality"]["mouth_opening_variance"] == pytest.approx(0, abs=1e-5)
    assert np.isfinite(found[0].landmarks.points).all()


def track(faces: np.ndarray, left_px: np.ndarray) -> FinishedTrack:
    """A track of (T, 68, 3) faces of side 1 that are 100 pixels wide, with their left edges."""
    count, box = len(faces), np.array([0, 0, 100.0])
    squares = np.stack([left_px - 25, np.full(count, 100.0), np.full(count, 150.0)], axis=1)
    points = ANALYSIS_SIZE * (faces / 1.5 + (0.5, 0.5, 0))
    return FinishedTrack(
        0, 0, box, box, 100.0, np.zeros((2, 432)), np.full(count, DETECTED), np.ones(count),
        SimpleNamespace(points=points, squares=squares),
    )  # fmt: skip


def test_guesses_at_the_edge_of_the_picture_do_not_make_a_photograph_move() -> None:
    rng = np.random.default_rng(0)
    photograph = np.repeat(FACE[None], 150, axis=0)
    photograph[100:] += np.cumsum(rng.normal(0, 0.02, (50, 68, 3)), axis=0)  # guesses
    inside, leaves = np.full(150, 400.0), np.where(np.arange(150) < 100, 400.0, 600.0)
    talker = track(np.stack([talking(index) for index in range(150)]), inside)
    brief = track(np.repeat(FACE[None], 9, axis=0), inside[:9])
    for left_px, stays in ((leaves, 0), (inside, 1)):
        tracks = [talker, brief, track(photograph, left_px)]
        spans = [(0, one.stop) for one in tracks]
        found = without_still(Tracks(kept=tracks, spans=spans, width=640, height=360))
        assert found.kept == tracks[: 2 + stays]
