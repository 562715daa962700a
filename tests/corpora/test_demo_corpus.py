import itertools
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from avsep.corpora.demo import visemes
from avsep.corpora.demo.config import DemoConfig
from avsep.corpora.demo.source_clips import Demo
from avsep.corpora.demo.voices import (
    CLIPS_PER_VOICE,
    NUM_SPEAKERS,
    base_voice,
    load_speech,
    load_voice,
)
from avsep.errors import UsageError
from avsep.schema import FPS, RATE_HZ
from avsep.settings import build
from avsep.workspace import Workspace

BASES = {
    "kokoro-jf_alpha": [0, 12],
    "kokoro-jm_kumo": [1, 5, 9, 13],
    "kokoro-jf_nezumi": [2, 14],
    "kokoro-jf_gongitsune": [4],
    "kokoro-jf_tebukuro": [8],
    "joe": [3, 7, 11, 15],
    "hibari": [6, 10],
}


def list_clips(config, seed):
    return Demo(config=config, workspace=Workspace(Path()), seed=seed).list_clips()


def test_speakers_of_one_base_voice_share_a_group():
    found = {base: [] for base in BASES}
    for speaker in range(NUM_SPEAKERS):
        found[load_voice(speaker).base].append(speaker)
    assert found == BASES
    groups = {clip.speaker: clip.group for clip in list_clips(DemoConfig(), 0)}
    assert groups["demo-s06"] == groups["demo-s10"] == "demo-voice-hibari"
    assert groups["demo-s04"] != groups["demo-s08"]


def test_the_dominant_style_decides_the_base_voice_and_the_name_breaks_ties():
    assert base_voice("kokoro", {"b": 0.4, "a": 0.6}) == "kokoro-a"
    assert base_voice("kokoro", {"b": 0.5, "a": 0.5}) == "kokoro-a"
    assert base_voice("kokoro", {"b": 1.25, "a": -0.25}) == "kokoro-b"
    assert base_voice("joe", None) == "joe"


def test_default_splits_share_no_speaker_and_keep_one_base_voice_for_test():
    clips = list_clips(DemoConfig(), 0)
    speakers = {split: {o.speaker for o in clips if o.split == split} for split in SPLITS}
    genders = {split: {o.gender for o in clips if o.split == split} for split in SPLITS}
    assert [len(speakers[split]) for split in SPLITS] == [10, 2, 4]
    for one, other in itertools.combinations(SPLITS, 2):
        assert not speakers[one] & speakers[other]
    assert all(genders[split] == {"f", "m"} for split in SPLITS)
    splits_of = {o.group: {p.split for p in clips if p.group == o.group} for o in clips}
    assert splits_of.pop("demo-voice-kokoro-jf_nezumi") == {"test"}
    assert all("train" in splits for splits in splits_of.values())


def test_held_out_speakers_may_have_fewer_clips():
    config = DemoConfig(
        clips_per_speaker=3, heldout_clips_per_speaker=2, train=(3,), val=(0,), test=(5,)
    )
    counts = Counter(clip.split for clip in list_clips(config, 0))
    assert counts == {"train": 3, "val": 2, "test": 2}
    same = replace(config, heldout_clips_per_speaker=0)
    assert Counter(clip.split for clip in list_clips(same, 0))["test"] == 3


SPLITS = ("train", "val", "test")


def test_ids_are_those_of_the_voice_clips_and_unique():
    clips = list_clips(DemoConfig(clips_per_speaker=2, train=(3,), val=(0,), test=()), 0)
    ids = ["demo-s00-c00", "demo-s00-c01", "demo-s03-c00", "demo-s03-c01"]
    assert [clip.clip_id for clip in clips] == ids
    assert clips[3].text == load_voice(3).texts[1]
    assert clips[3].path == "demo/demo-s03-c01.mp4"


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"clips_per_speaker": 25}, "clips_per_speaker is 25"),
        ({"heldout_clips_per_speaker": 25}, "heldout_clips_per_speaker is 25"),
        ({"val": [0, 1]}, r"\[0, 1\] appear more than once"),
        ({"test": [16]}, r"speaker\(s\) \[16\] do not exist"),
        ({"train": [], "val": [], "test": []}, "all empty"),
    ],
)
def test_wrong_settings_are_refused_with_a_sentence(values, sentence):
    with pytest.raises(UsageError, match=sentence):
        build(DemoConfig, values, "download.demo")


def test_every_symbol_of_the_voices_is_a_viseme_a_mark_or_a_pause():
    known = {*visemes.VISEME_OF, *"ˈˌː:ʲ", *"AIOQWY", *" _^$."}
    for speaker in range(NUM_SPEAKERS):
        voice = load_voice(speaker)
        assert len(voice.texts) == len(voice.phonemes) == CLIPS_PER_VOICE
        for phonemes in voice.phonemes:
            assert {p.symbol for p in phonemes} <= known
            assert all(0 <= p.start_s <= p.end_s <= 3.0 for p in phonemes)


@pytest.mark.slow
def test_jaw_follows_the_sound_within_one_frame_on_every_base_voice():
    for speaker in (speakers[0] for speakers in BASES.values()):
        audio, voice = load_speech(speaker), load_voice(speaker)
        loud, jaw = [], []
        for number in range(CLIPS_PER_VOICE):
            level = visemes.loudness(audio[number], RATE_HZ, FPS, 75)
            spans = visemes.segments(voice.phonemes[number], misaki=voice.misaki)
            # The phonemes alone, without the share that the loudness has in the jaw.
            jaw.append(visemes.mouth_curves(spans, 75, FPS, np.ones(75), 1.0)[:, 0])
            loud.append(level)
        assert abs(best_lag(np.stack(jaw), np.stack(loud))) <= 1, speaker


def best_lag(first: np.ndarray, second: np.ndarray, reach: int = 6) -> int:
    """Frames that `first` (clips, frames) is behind `second`, by the best correlation."""
    n = first.shape[1]
    scores = {}
    for lag in range(-reach, reach + 1):
        a = first[:, max(0, lag) : n + min(0, lag)]
        b = second[:, max(0, -lag) : n + min(0, -lag)]
        scores[lag] = np.corrcoef(a.ravel(), b.ravel())[0, 1]
    return max(scores, key=scores.__getitem__)


def test_stress_and_length_marks_join_their_vowel_and_short_gaps_are_closed():
    P = visemes.Phoneme
    spans = visemes.segments(
        [P("ˈ", 0.0, 0.1), P("ɑ", 0.1, 0.2), P("ː", 0.2, 0.3), P(" ", 0.3, 0.4), P("p", 0.4, 0.5)],
        misaki=False,
    )
    assert [s.viseme for s in spans] == ["aa", "PP"]
    assert (spans[0].start_s, spans[0].end_s) == (0.0, pytest.approx(0.35))
    assert spans[0].stress > 1.0 == spans[1].stress


def test_only_misaki_reads_capital_letters_as_diphthongs():
    phonemes = [visemes.Phoneme("I", 0.0, 0.2)]
    assert [s.viseme for s in visemes.segments(phonemes, misaki=True)] == ["aa", "ih"]
    assert [s.viseme for s in visemes.segments(phonemes, misaki=False)] == ["sil"]
