"""In a clip with several faces, one that never moves gives no sample, and is counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from avsep.errors import ItemError, Reason
from avsep.extraction import clip as extraction
from avsep.extraction.config import ExtractionConfig
from avsep.faces.config import FacesConfig
from avsep.faces.timing import StepTimer
from avsep.schema import Clip, Sample
from tests.support.clip_maker import make_clip, raw_clip, speech_like
from tests.support.echo import pictures
from tests.support.face_scene import PHOTOGRAPH, ColourBackend, Pose

FRAMES = 52
TALKER, OTHER = Pose(0, 60, 80, 60), Pose(1, 240, 80, 60)
PHOTO = Pose(PHOTOGRAPH, 150, 80, 60)


@pytest.fixture
def samples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Extracts a drawn clip; returns its samples and what was left out."""
    monkeypatch.setattr(extraction, "loaded_backend", lambda config: ColourBackend())

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


def test_photograph_beside_a_talker_gives_no_sample_and_is_counted(samples) -> None:
    found, left_out = samples(lambda i: [TALKER, PHOTO])
    assert [sample.meta["track"] for sample in found] == [0]
    assert left_out["still"] == 1
    # The clip counts as one of a single voice.
    assert not found[0].meta["multi_voice"]
    assert found[0].meta["quality"]["other_face_share"] == 0


def test_photograph_gives_a_sample_on_demand(samples) -> None:
    found, left_out = samples(lambda i: [TALKER, PHOTO], keep_still=True)
    assert len(found) == 2
    assert left_out["still"] == 0
    assert found[0].meta["multi_voice"]


def test_two_talkers_and_photographs_are_two_samples(samples) -> None:
    photos = [PHOTO, replace(PHOTO, y=20, side=30)]
    found, left_out = samples(lambda i: [TALKER, OTHER, photos[0]])
    assert len(found) == 2
    assert left_out["still"] == 1
    assert found[0].meta["multi_voice_reasons"] == ["faces_at_once"]


def test_photograph_that_fills_a_shot_of_its_own_is_left_out(samples) -> None:
    found, left_out = samples(lambda i: [TALKER] if i < 26 else [PHOTO])
    assert [sample.num_frames for sample in found] == [26]
    assert left_out["still"] == 1


def test_clip_of_photographs_is_dropped_with_its_reason(samples) -> None:
    with pytest.raises(ItemError, match=r"none of its 2 faces moves.*keep_still") as caught:
        samples(lambda i: [PHOTO] if i < 26 else [replace(PHOTO, x=60)])
    assert caught.value.reason is Reason.NO_FACE
    assert samples.left_out == {"still": 2}


def test_face_that_is_alone_stays_though_it_never_moves(samples) -> None:
    found, left_out = samples(lambda i: [PHOTO])
    assert len(found) == 1
    assert left_out["still"] == 0
    assert found[0].meta["quality"]["mouth_opening_variance"] == pytest.approx(0, abs=1e-5)
    assert np.isfinite(found[0].landmarks.points).all()
