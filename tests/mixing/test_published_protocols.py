"""The protocols of others, each held to what its authors' scripts do, on sound of known levels."""

import math
from dataclasses import replace

import numpy as np
import pytest

from avsep.errors import CheckError
from avsep.media.level import active_level_dbfs, speech_level
from avsep.mixing.importing import import_list
from avsep.mixing.protocols import draw_list, relative_db
from avsep.mixing.published_protocols import (
    PROTOCOLS,
    find_protocol,
    level_above_200_hz,
    level_at_8_khz,
    power_dbfs,
)
from avsep.mixing.recipes import write_recipes
from avsep.mixing.render import render
from avsep.mixing.training import TrainingDraw, TrainingList
from avsep.mixing.voices import Voice, VoiceTable, find_activity
from avsep.shards.index import IndexRow

WINDOW = 32_000
FULL = 32_768


def tone(seconds: float, level_dbfs: float, pitch_hz: float) -> np.ndarray:
    """A sine of an RMS level, (samples,) int16 at 16 kHz."""
    time_s = np.arange(round(seconds * 16_000)) / 16_000
    wave = 10 ** (level_dbfs / 20) * math.sqrt(2) * np.sin(2 * np.pi * pitch_hz * time_s)
    return np.rint(wave * FULL).astype(np.int16)


def talk(number: int, seconds: float = 3.0) -> np.ndarray:
    """Half of the time a tone, half silence, each voice at a level and a pitch of its own."""
    half = tone(seconds / 2, -30 + 2 * number, 200 + 70 * number)
    return np.concatenate([half, np.zeros(round(seconds * 16_000) - len(half), np.int16)])


AUDIO = {f"s{n}-{clip}": talk(n, 3.0 + 0.4 * clip) for n in range(6) for clip in range(2)}


def voice(key: str) -> Voice:
    level_dbfs, active = find_activity(AUDIO[key])
    speaker = key.split("-")[0]
    return Voice(
        key=key, speaker=speaker, group=f"video-{key}", gender="", level_dbfs=level_dbfs,
        num_frames=len(AUDIO[key]) // 640, sha256="", active=active,
    )  # fmt: skip


TABLE = VoiceTable([voice(key) for key in AUDIO], WINDOW, 0.3)


def drawn(name: str, count: int = 12):
    return draw_list(
        TABLE, AUDIO.__getitem__, split="test", seed=3, count=count, protocol=PROTOCOLS[name]
    )


def rendered(recipe):
    made = render(recipe, AUDIO.__getitem__)
    return made.mixture, made.sources


@pytest.mark.parametrize("activity", [1.0, 0.5, 0.25])
def test_active_level_at_8_khz_does_not_count_the_pauses(activity):
    active = tone(4.0 * activity, -26, 440)
    sound = np.concatenate([active, np.zeros(64_000 - len(active), np.int16)])
    # The hangover of 200 ms counts as speech, as the recommendation has it.
    heard = min(4.0, 4.0 * activity + 0.2 + 0.05)
    expected = -26 + 10 * math.log10(4.0 * activity / heard)
    assert level_at_8_khz(sound) == pytest.approx(expected, abs=0.12)
    assert power_dbfs(sound) == pytest.approx(-26 + 10 * math.log10(activity), abs=0.01)
    assert speech_level(sound, 16_000).activity == pytest.approx(heard / 4.0, abs=0.03)


@pytest.mark.parametrize(
    ("pitch_hz", "expected_db"),
    [(1000, 0.0), (3000, 0.0), (230, -0.05), (200, -0.25), (120, -14.0), (79, -50.0), (50, -50.0)],
)
def test_the_level_of_ctcnet_is_measured_above_200_hz(pitch_hz, expected_db):
    sound = tone(4.0, -6, pitch_hz)
    passed = level_above_200_hz(sound) - level_at_8_khz(sound)
    if expected_db == -50.0:
        assert passed < -40  # the onset passes
    else:
        assert passed == pytest.approx(expected_db, abs=2.0 if pitch_hz == 120 else 0.03)


def test_hum_does_not_make_a_voice_louder():
    voice, hum = tone(4.0, -26, 500).astype(float), tone(4.0, -26, 50).astype(float)
    both = np.rint(voice + hum).astype(np.int16)
    assert level_at_8_khz(both) == pytest.approx(-23, abs=0.1)
    assert level_above_200_hz(both) == pytest.approx(-26, abs=0.1)


def test_ctcnet_mixes_first_seconds_up_to_ten_decibel_apart_at_a_peak_of_nine_tenths():
    apart = []
    for recipe in drawn("ctcnet-2mix", 20):
        mixture, sources = rendered(recipe)
        assert [source.start for source in recipe.sources] == [0, 0]
        assert len({source.speaker for source in recipe.sources}) == 2
        peak = max(np.abs(signal).max() for signal in (mixture, *sources))
        assert peak == pytest.approx(0.9, abs=2e-4)
        levels = [level_above_200_hz(np.rint(s * FULL).astype(np.int16)) for s in sources]
        apart.append(levels[0] - levels[1])
        assert apart[-1] == pytest.approx(relative_db(recipe), abs=0.05)
    assert min(apart) >= -0.05
    assert max(apart) < 10.05
    assert max(apart) - min(apart) > 5


def test_muse_mixes_whole_voices_by_their_power_at_full_scale():
    for recipe in drawn("muse-2mix"):
        mixture, _ = rendered(recipe)
        whole = [AUDIO[source.key] for source in recipe.sources]
        assert recipe.num_samples == min(map(len, whole)) // 640 * 640
        powers = [power_dbfs(w) + s.gain_db for w, s in zip(whole, recipe.sources, strict=True)]
        assert -10 <= powers[1] - powers[0] <= 10
        assert relative_db(recipe) == pytest.approx(powers[0] - powers[1], abs=1e-3)
        if recipe.scale == 1.0:
            assert np.abs(mixture).max() == pytest.approx(32767 / FULL, abs=3e-4)
        # As MuSE's script does it, in floating point from the sound in the files.
        first, second = (w.astype(float) / 32767 for w in whole)
        ratio = np.sqrt(np.mean(first**2) / np.mean(second**2))
        second = 10 ** ((powers[1] - powers[0]) / 20) * ratio * second
        theirs = first[: recipe.num_samples] + second[: recipe.num_samples]
        theirs /= np.abs(theirs).max()
        ours = mixture / np.abs(mixture).max()
        assert np.abs(ours - theirs).max() < 2e-3


def test_muse_lists_for_validation_have_one_length():
    recipes = draw_list(
        TABLE, AUDIO.__getitem__, split="val", seed=3, count=5, protocol=PROTOCOLS["muse-2mix"]
    )
    assert {recipe.num_samples for recipe in recipes} == {WINDOW}


def test_visualvoice_means_windows_of_equal_rms_from_two_videos():
    speakers = set()
    for recipe in drawn("visualvoice-2mix", 40):
        _, sources = rendered(recipe)
        one, other = recipe.sources
        assert one.group != other.group
        speakers.add(one.speaker == other.speaker)
        for source in sources:
            rms = np.sqrt(np.mean(source.astype(float) ** 2))
            assert rms == pytest.approx(0.05 * recipe.scale, rel=2e-3)
    assert speakers == {True, False}  # the same speaker is not excluded there


def test_three_voices_differ_and_lie_within_five_decibel():
    for recipe in drawn("strict-3mix"):
        mixture, sources = rendered(recipe)
        assert len({source.speaker for source in recipe.sources}) == 3
        np.testing.assert_allclose(mixture, sources.sum(axis=0), atol=1e-7)
        after = [source.level_db + source.gain_db for source in recipe.sources]
        assert max(after) - min(after) <= 5.001
        for sound, level in zip(sources, after, strict=True):
            measured = active_level_dbfs(sound.astype(float), 16_000)
            assert measured == pytest.approx(level + 20 * math.log10(recipe.scale), abs=0.2)


@pytest.mark.parametrize("name", sorted(PROTOCOLS))
def test_lists_are_repeatable_writable_and_named_after_their_protocol(name, tmp_path):
    recipes = drawn(name, 6)
    assert recipes == drawn(name, 9)[:6]
    assert {recipe.protocol for recipe in recipes} == {name}
    assert len({recipe.mixture_id for recipe in recipes}) == 6
    write_recipes(tmp_path / "test.jsonl", recipes)


# --- training ------------------------------------------------------------------------------------


def training(name: str, num_samples: int = WINDOW, voices=None, version=None) -> TrainingDraw:
    listed = TrainingList(
        protocol=name, version=version or PROTOCOLS[name].version, seed=5, num_samples=num_samples,
        min_activity=0.3, voices=tuple(voices or TABLE.voices),
    )  # fmt: skip
    return TrainingDraw(listed, AUDIO.__getitem__)


# Keys, starts and gains in dB of mixture 17 of epoch 3: what they are, they stay.
VECTORS = {
    ("ctcnet-2mix", 1): [("s4-0", 0, 13.055), ("s5-1", 0, 8.9491)],
    ("muse-2mix", 1): [("s1-1", 0, 20.8879), ("s5-1", 0, 8.5011)],
    ("strict-3mix", 1): [
        ("s0-0", 7040, 1.5141),
        ("s5-0", 3200, -5.8129),
        ("s1-0", 12800, 2.9027),
    ],
    ("visualvoice-2mix", 1): [("s5-1", 21760, 1.6749), ("s1-1", 13440, 5.6452)],
}


@pytest.mark.parametrize(("name", "version"), sorted(VECTORS))
def test_training_by_a_protocol_is_the_same_for_ever(name, version):
    """A change here changes every training: raise the version of the protocol."""
    recipe = training(name, version=version).draw(3, 17)
    assert recipe.mixture_id == "train-5-3-17"
    assert (recipe.protocol, recipe.seed, recipe.num_samples) == (name, 5, WINDOW)
    assert recipe.version == version
    vector = VECTORS[name, version]
    found = [(source.key, source.start) for source in recipe.sources]
    assert found == [(key, start) for key, start, _ in vector]
    gains = [source.gain_db for source in recipe.sources]
    assert gains == pytest.approx([gain for *_, gain in vector], abs=2e-3)


@pytest.mark.parametrize(("version", "meter"), [(1, level_at_8_khz), (2, level_above_200_hz)])
def test_each_version_of_ctcnet_measures_with_its_own_meter(version, meter):
    low = [voice for voice in TABLE.voices if voice.speaker in ("s0", "s1")]  # at 200 and 270 Hz
    for source in training("ctcnet-2mix", voices=low, version=version)(0).sources:
        window = AUDIO[source.key][:WINDOW]
        assert source.level_db == pytest.approx(meter(window), abs=1e-4)
        if source.speaker == "s0":
            assert abs(level_at_8_khz(window) - level_above_200_hz(window)) > 0.1


def test_lists_are_drawn_by_the_newest_version_and_unknown_ones_are_refused():
    assert {recipe.version for recipe in drawn("ctcnet-2mix", 3)} == {2}
    with pytest.raises(
        ValueError, match=r"ctcnet-2mix, version 3, is unknown.*run the stage `mix`"
    ):
        find_protocol("ctcnet-2mix", 3)


@pytest.mark.parametrize("name", sorted(PROTOCOLS))
def test_training_draws_by_seed_epoch_and_index_alone(name):
    draw = training(name)
    one = draw.draw(3, 17)
    assert draw.draw(3, 17) == one
    assert training(name, voices=TABLE.voices[::-1]).draw(3, 17) == one
    others = [draw.draw(3, 18), draw.draw(4, 17)]
    assert len({replace(recipe, mixture_id="") for recipe in [one, *others]}) == 3
    assert training(name, num_samples=16_000)(0).num_samples == 16_000


@pytest.mark.parametrize("name", ["ctcnet-2mix", "muse-2mix"])
def test_the_first_voice_of_a_training_mixture_is_not_always_the_louder_one(name):
    draw = training(name)
    apart = [relative_db(draw(number)) for number in range(40)]
    assert 8 <= sum(level > 0 for level in apart) <= 32
    assert max(map(abs, apart)) <= (10.01 if name == "ctcnet-2mix" else 22)


def test_training_mixtures_keep_to_the_levels_of_their_protocol():
    for number in range(10):
        mixture, sources = rendered(training("ctcnet-2mix")(number))
        peak = max(np.abs(signal).max() for signal in (mixture, *sources))
        assert peak == pytest.approx(0.9, abs=2e-4)
        _, sources = rendered(training("muse-2mix")(number))
        assert sources.shape == (2, WINDOW)
        recipe = training("visualvoice-2mix")(number)
        for source in rendered(recipe)[1]:
            rms = np.sqrt(np.mean(source.astype(float) ** 2))
            assert rms == pytest.approx(0.05 * recipe.scale, rel=2e-3)
        recipe = training("strict-3mix")(number)
        assert len({source.group for source in recipe.sources}) == 3


@pytest.mark.slow
def test_a_split_of_two_speakers_gives_no_mixture_of_three():
    two = [voice for voice in TABLE.voices if voice.speaker in ("s0", "s1")]
    with pytest.raises(CheckError, match="training by strict-3mix: no 3 voices"):
        training("strict-3mix", voices=two)
    training("ctcnet-2mix", voices=two)(0)


# --- published lists over our samples ------------------------------------------------------------

CLIPS = {
    "vox2-id00012-_abcdefghi--00003": 0,
    "vox2-id00015-ABCDEFGHIJK-00001": 1,
    "lrs2-main-6326553828952690654-00001": 2,
    "lrs2-main-6303167732026041278-00004": 3,
}
SOUNDS = {f"{clip}-t0": talk(n) for clip, n in CLIPS.items()}
ROWS = [
    IndexRow(
        key=f"{clip}-t0", shard="test-000000.tar", clip_id=clip, corpus="x", speaker=f"sp{n}",
        group=f"g{n}", gender="", split="test", num_frames=75, multi_voice=False,
        level_dbfs=-26.0, audio_sha256=f"sha{n}", text="",
    )
    for clip, n in CLIPS.items()
]  # fmt: skip
VOX2 = "/a/id00012__abcdefghi-_00003.wav 2.5 /b/id00015_ABCDEFGHIJK_00001.wav -2.5\n"
LRS2 = "6326553828952690654_00001.wav 1.25 6303167732026041278_00004.wav -1.25\n"
GONE = "/a/id00012__abcdefghi-_00004.wav 2.5 /b/id00015_ABCDEFGHIJK_00001.wav -2.5\n"


def imported(path, missing: float = 0.0, num_samples: int = WINDOW):
    return import_list(
        path, ROWS, SOUNDS.__getitem__, split="test", num_samples=num_samples,
        max_missing_share=missing,
    )  # fmt: skip


def test_a_list_of_ctcnet_becomes_recipes_of_the_same_mixtures(tmp_path):
    path = tmp_path / "tt.scp"
    path.write_text(VOX2 + LRS2)
    vox2, lrs2 = imported(path)
    assert [source.key for source in vox2.sources] == list(SOUNDS)[:2]
    assert relative_db(vox2) == pytest.approx(5.0, abs=1e-3)
    assert relative_db(lrs2) == pytest.approx(2.5, abs=1e-3)
    assert vox2.sources[0].sha256 == "sha0"
    made = render(vox2, SOUNDS.__getitem__)
    peak = max(np.abs(made.mixture).max(), np.abs(made.sources).max())
    assert peak == pytest.approx(0.9, abs=2e-4)


def test_a_list_of_muse_becomes_recipes_of_its_split(tmp_path):
    path = tmp_path / "mix.csv"
    line = "{0},test,id00012,_abcdefghi-/00003,0,test,id00015,ABCDEFGHIJK/00001,-7.5,3.0\n"
    path.write_text(line.format("train") + line.format("test"))
    (recipe,) = imported(path)
    assert recipe.num_samples == 48_000
    assert relative_db(recipe) == pytest.approx(7.5, abs=1e-3)
    path.write_text(line.format("train"))
    with pytest.raises(CheckError, match="no mixtures of the split test"):
        imported(path)


def test_utterances_that_are_not_there_or_too_short_are_named(tmp_path):
    path = tmp_path / "tt.scp"
    path.write_text(VOX2 + GONE)
    with pytest.raises(CheckError, match=r"1 of 2 mixtures of tt.scp .* id00012__abcdefghi-_00004"):
        imported(path)
    assert len(imported(path, missing=0.5)) == 1
    with pytest.raises(CheckError, match="2 of 2"):
        imported(path, num_samples=64_000)
