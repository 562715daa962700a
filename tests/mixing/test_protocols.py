import hashlib
import json
import math
import pickle
import sys
from collections import Counter
from dataclasses import asdict, replace
from functools import cache

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from avsep.errors import CheckError
from avsep.files import dump_json, write_json
from avsep.media.level import active_level_dbfs
from avsep.mixing.hash_random import HashRandom
from avsep.mixing.protocols import draw_list, draw_training, relative_db
from avsep.mixing.recipes import read_recipes, write_recipes
from avsep.mixing.render import PEAK_LIMIT, render
from avsep.mixing.training import (
    TrainingDraw,
    TrainingList,
    read_training,
    read_training_list,
    write_training,
)
from avsep.mixing.voices import Voice, VoiceTable, find_activity, window_starts

WINDOW = 32_000  # 2 s
FRAMES = 75


def speech(seed: int, level: float = 2_000, frames: int = FRAMES) -> np.ndarray:
    """(640 frames,) int16: noise in bursts, from its own seed."""
    rng = np.random.default_rng(seed)
    gate = np.repeat(rng.random(frames // 5) < 0.75, 5 * 640)
    return (rng.normal(0, level, len(gate)) * gate).clip(-32_768, 32_767).astype(np.int16)


AUDIO = {
    f"s{speaker}-{clip}": speech(10 * speaker + clip, level=600 * (1 + speaker))
    for speaker in range(6)
    for clip in range(3)
}


def voice(key: str, **changes) -> Voice:
    """Speakers 0 and 1 share a group; odd ones are women."""
    speaker = key.split("-")[0]
    number = int(speaker[1:])
    level_dbfs, active = find_activity(AUDIO[key])
    values = {
        "key": key,
        "speaker": speaker,
        "group": "g0" if number < 2 else speaker,
        "gender": "mf"[number % 2],
        "num_frames": FRAMES,
        "level_dbfs": level_dbfs,
        "sha256": hashlib.sha256(AUDIO[key].tobytes()).hexdigest(),
        "active": active,
    }
    return Voice(**(values | changes))


VOICES = [voice(key) for key in AUDIO]
TABLE = VoiceTable(VOICES, WINDOW, 0.3)


def training_recipes(count: int, seed: int = 0, epoch: int = 0):
    return [draw_training(TABLE, seed, epoch, index) for index in range(count)]


@cache
def listed(count: int, split: str = "val", seed: int = 0):
    return draw_list(TABLE, AUDIO.__getitem__, split=split, seed=seed, count=count)


# --- random numbers ----------------------------------------------------------------------------


def test_draws_are_uniform_and_depend_on_every_part_of_the_name():
    random = HashRandom("p", 1, 0, "train", 0, 0)
    values = np.array([random.uniform() for _ in range(8_000)])
    assert values.min() >= 0
    assert values.max() < 1
    assert np.histogram(values, 10, (0, 1))[0].min() > 700
    names = [("p", 1, 0), ("p", 1, 1), ("p", 10), ("p", 2, 0), ("q", 1, 0), ("p", 1, 0, 0)]
    assert len({HashRandom(*name).uniform() for name in names}) == len(names)


def test_draws_are_the_same_for_ever():
    random = HashRandom("strict-2mix", 1, 0, "train", 3, 17)
    assert [random.below(1_000_000) for _ in range(10)] == [
        int.from_bytes(
            hashlib.blake2b(
                f"strict-2mix/1/0/train/3/17#{index // 8}".encode(), digest_size=64
            ).digest()[8 * (index % 8) :][:8],
            "little",
        )
        * 1_000_000
        // 2**64
        for index in range(10)
    ]


# --- windows -----------------------------------------------------------------------------------


def test_windows_start_where_enough_of_them_is_speech():
    made = replace(VOICES[0], num_frames=20, active=((2, 5), (9, 15)))
    active = np.zeros(20, bool)
    active[2:5] = active[9:15] = True
    for frames in (1, 4, 10, 20):
        for share in (0.0, 0.25, 0.5, 0.9):
            expected = [
                start
                for start in range(20 - frames + 1)
                if active[start : start + frames].sum() >= share * frames - 1e-9
            ]
            assert window_starts(made, frames, share).tolist() == expected, (frames, share)
    assert window_starts(made, 21, 0.0).tolist() == []


def test_voices_without_a_window_or_a_level_are_left_out():
    short = voice("s2-0", num_frames=49, active=())
    silent = voice("s3-0", level_dbfs=-math.inf, active=())
    table = VoiceTable([short, silent, voice("s4-0")], WINDOW, 0.0)
    assert [v.key for v in table.voices] == ["s4-0"]


def test_nonsense_windows_and_runs_are_refused():
    for samples, share in ((32_001, 0.5), (0, 0.5), (32_000, 1.5)):
        with pytest.raises(ValueError, match=r"must be"):
            VoiceTable(VOICES, samples, share)
    for runs in (((5, 2),), ((1, 3), (2, 4)), ((0, 99),), ((-1, 3),)):
        with pytest.raises(ValueError, match="not sorted, or not within"):
            voice("s2-0", active=runs)


def test_activity_of_a_sample_is_found():
    audio = np.zeros(100 * 640, np.int16)
    audio[20 * 640 : 60 * 640] = speech(1, frames=40, level=1_000) + 1
    level_dbfs, runs = find_activity(audio)
    assert level_dbfs == round(level_dbfs, 4)
    assert runs[0][0] == pytest.approx(20, abs=6)
    assert runs[-1][1] <= 60 + 8
    assert find_activity(np.zeros(6_400, np.int16)) == (-math.inf, ())


# --- training ----------------------------------------------------------------------------------


def test_training_recipes_are_the_same_for_ever():
    """A change here changes every training: raise the version of the protocol."""
    voices = [
        Voice(
            key=f"s{s}-{c}", speaker=f"s{s}", group=f"s{s}", gender="", num_frames=60 + s,
            level_dbfs=-20.0 - s, sha256="", active=((c, 55),),
        )
        for s in range(5) for c in range(4)
    ]  # fmt: skip
    table = VoiceTable(voices, WINDOW, 0.5)
    recipes = [asdict(draw_training(table, 7, e, i)) for e in range(2) for i in range(50)]
    text = dump_json(recipes, indent=None)
    assert hashlib.sha256(text.encode()).hexdigest() == (
        "8093f8bc98a31d445971b28cfb9b35a7b7b232b824477a0edb4e3ebcca6c4db9"
    )


def test_training_recipe_is_a_function_of_seed_epoch_and_index():
    one = draw_training(TABLE, 0, 3, 17)
    assert draw_training(TABLE, 0, 3, 17) == one
    assert draw_training(pickle.loads(pickle.dumps(TABLE)), 0, 3, 17) == one
    others = [draw_training(TABLE, *c) for c in ((1, 3, 17), (0, 4, 17), (0, 3, 18))]
    assert len({replace(r, mixture_id="", seed=0) for r in [one, *others]}) == 4
    shuffled = VoiceTable(VOICES[::-1], WINDOW, 0.3)
    assert draw_training(shuffled, 0, 3, 17) == one


@pytest.mark.slow
def test_speakers_and_groups_of_a_pair_differ():
    for recipe in training_recipes(500):
        one, other = recipe.sources
        assert one.speaker != other.speaker
        assert one.group != other.group
    assert not VoiceTable([v for v in VOICES if v.group == "g0"], WINDOW, 0.3).has_pairs
    assert not VoiceTable([v for v in VOICES if v.speaker == "s5"], WINDOW, 0.3).has_pairs


def test_one_speaker_of_many_groups_is_never_mixed_with_itself():
    # As where a group is a video, and a speaker is in several of them.
    voices = [replace(made, group=f"video-{made.key}") for made in VOICES]
    for index in range(200):
        one, other = draw_training(VoiceTable(voices[:6], WINDOW, 0.3), 0, 0, index).sources
        assert one.speaker != other.speaker
    assert not VoiceTable(voices[:3], WINDOW, 0.3).has_pairs


def test_speakers_are_drawn_evenly_whatever_their_clips():
    many = [replace(voice("s5-0"), key=f"s5-{number}") for number in range(40)]
    few = [made for made in VOICES if made.speaker in ("s2", "s3", "s4")]
    table = VoiceTable([*few, *many], WINDOW, 0.0)
    recipes = [draw_training(table, 0, 0, index) for index in range(1_000)]
    drawn = Counter(source.speaker for recipe in recipes for source in recipe.sources)
    assert max(drawn.values()) / min(drawn.values()) < 1.25


def test_relative_level_is_uniform_in_five_decibel_either_way():
    relative = np.array([relative_db(recipe) for recipe in training_recipes(2_000)])
    assert -5 <= relative.min() < -4.9
    assert 4.9 < relative.max() <= 5
    assert np.histogram(relative, 10, (-5, 5))[0].min() > 150


def test_mean_level_of_the_voices_stays_natural():
    for recipe in training_recipes(100):
        levels = [source.level_db for source in recipe.sources]
        after = [source.level_db + source.gain_db for source in recipe.sources]
        assert np.mean(after) == pytest.approx(np.mean(levels), abs=1e-3)


def test_windows_of_recipes_are_frame_aligned_and_within_the_sample():
    starts = set()
    allowed = {made.key: set(window_starts(made, 50, 0.3).tolist()) for made in VOICES}
    for recipe in training_recipes(300):
        assert recipe.num_samples == WINDOW
        for source in recipe.sources:
            assert source.start % 640 == 0
            assert source.start // 640 in allowed[source.key]
            starts.add(source.start // 640)
    assert len(starts) > 15


def test_drawing_costs_as_much_however_many_voices_there_are():
    """Each training step draws: the work, counted in calls, must not grow with the corpus."""

    def calls(voices):
        table = VoiceTable(voices, WINDOW, 0.3)
        draw_training(table, 0, 0, 0)  # what is computed once
        count = 0

        def counted(_frame, event, _argument):
            nonlocal count
            count += event in ("call", "c_call")

        sys.setprofile(counted)
        try:
            for index in range(1, 51):
                draw_training(table, 0, 0, index)
        finally:
            sys.setprofile(None)
        return count / 50

    many = [
        replace(made, key=f"{made.key}-{copy}", speaker=f"{made.speaker}-{copy}")
        for made in VOICES
        for copy in range(40)
    ]
    assert calls(many) < 2 * calls(VOICES) < 2_000


# --- lists -------------------------------------------------------------------------------------


def test_list_has_the_levels_of_its_windows_and_renders_at_the_drawn_ratio():
    for recipe in listed(20):
        rendered = render(recipe, AUDIO.__getitem__)
        assert rendered.scale == recipe.scale
        levels = [active_level_dbfs(sound, 16_000) for sound in rendered.sources]
        for source, level in zip(recipe.sources, levels, strict=True):
            window = AUDIO[source.key][source.start : source.start + WINDOW]
            assert source.level_db == pytest.approx(active_level_dbfs(window, 16_000), abs=1e-4)
            expected = source.level_db + source.gain_db + 20 * math.log10(recipe.scale)
            assert level == pytest.approx(expected, abs=0.2)
        assert abs(relative_db(recipe)) <= 5.001
        assert np.abs(rendered.mixture).max() <= PEAK_LIMIT + 1e-4


def test_loud_voices_get_a_joint_scale_in_the_list():
    loud = {
        key: (audio * 8.0).clip(-32_768, 32_767).astype(np.int16) for key, audio in AUDIO.items()
    }
    recipes = draw_list(TABLE, loud.__getitem__, split="val", seed=0, count=10)
    assert min(recipe.scale for recipe in recipes) < 1
    for recipe in recipes:
        assert render(recipe, loud.__getitem__).scale == recipe.scale


def test_list_is_repeatable_and_a_longer_one_begins_with_it():
    assert listed(12) == listed.__wrapped__(12) == listed(20)[:12]
    assert listed(12) != listed(12, seed=1)
    assert {r.mixture_id for r in listed(12)}.isdisjoint(
        r.mixture_id for r in listed(12, split="test")
    )


@pytest.mark.slow
def test_pairs_are_new_as_long_as_there_are_any_and_ids_unique():
    recipes = listed(60)
    pairs = Counter(frozenset(source.key for source in recipe.sources) for recipe in recipes)
    assert max(pairs.values()) == 1
    two = VoiceTable([voice("s2-0"), voice("s3-0")], WINDOW, 0.3)
    again = draw_list(two, AUDIO.__getitem__, split="val", seed=0, count=5)
    assert len({recipe.mixture_id for recipe in again}) == 5


def test_list_that_cannot_be_had_says_so():
    with pytest.raises(ValueError, match="add speakers"):
        table = VoiceTable([voice("s0-0"), voice("s1-0")], WINDOW, 0.3)
        draw_list(table, AUDIO.__getitem__, split="val", seed=0, count=1)


# --- files -------------------------------------------------------------------------------------


def test_recipes_come_back_as_they_were(tmp_path):
    recipes = listed(5)
    write_recipes(tmp_path / "val.jsonl", recipes)
    assert read_recipes(tmp_path / "val.jsonl") == recipes
    write_recipes(tmp_path / "none.jsonl", [])
    assert read_recipes(tmp_path / "none.jsonl") == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_samples": 1_000}, "must be a multiple of 640"),
        ({"num_samples": "32000"}, "must be of type int"),
        ({"scale": 0.0}, "scale"),
        ({"scale": None}, "must be of type float"),
        ({"mixture_id": "a b"}, "is not an id"),
        ({"sources": []}, "0 voices"),
        ({"colour": 1}, "unknown key"),
        ({"source": {"start": 5}}, "line up"),
        ({"source": {"start": -640}}, "line up"),
        ({"source": {"gain_db": 1e9}}, "gain"),
        ({"source": {"level_db": "loud"}}, "must be of type float"),
        ({"source": {"speaker": None}}, "must be of type str"),
    ],
)
def test_damaged_recipes_are_check_errors(tmp_path, change, message):
    values = asdict(listed(1)[0])
    values["sources"] = [dict(source) for source in values["sources"]]
    values["sources"][1].update(change.pop("source", {}))
    write_json(tmp_path / "x.json", values | change)
    text = (tmp_path / "x.json").read_text().replace("\n", "")
    (tmp_path / "val.jsonl").write_text(text + "\n")
    with pytest.raises(CheckError, match=message):
        read_recipes(tmp_path / "val.jsonl")


def test_same_speaker_or_same_id_twice_is_refused(tmp_path):
    one, other = listed(2)
    first, second = one.sources
    twice = replace(one, sources=(first, replace(second, speaker=first.speaker)))
    with pytest.raises(ValueError, match="twice"):
        write_recipes(tmp_path / "val.jsonl", [twice])
    with pytest.raises(ValueError, match="occurs twice"):
        write_recipes(tmp_path / "val.jsonl", [one, other, one])
    with pytest.raises(CheckError, match="is missing"):
        read_recipes(tmp_path / "nothere.jsonl")


def training_list(**changes) -> TrainingList:
    values = {
        "protocol": "strict-2mix", "version": 1, "seed": 5, "num_samples": WINDOW,
        "min_activity": 0.3, "voices": tuple(VOICES),
    }  # fmt: skip
    return TrainingList(**(values | changes))


def test_training_file_draws_the_same_mixtures(tmp_path):
    write_training(tmp_path / "train.parquet", training_list())
    draw = read_training(tmp_path / "train.parquet", AUDIO.__getitem__)
    assert draw.draw(2, 3) == draw_training(TABLE, 5, 2, 3)
    assert draw(3) == draw.draw(0, 3)
    assert pickle.loads(pickle.dumps(draw))(3) == draw(3)
    shorter = read_training(tmp_path / "train.parquet", AUDIO.__getitem__, num_samples=16_000)
    assert shorter(0).num_samples == 16_000


def test_training_file_of_another_protocol_or_without_pairs_is_refused(tmp_path):
    path = tmp_path / "train.parquet"
    with pytest.raises(CheckError, match="is missing"):
        read_training(path, AUDIO.__getitem__)
    write_training(path, training_list())
    settings = json.loads(pq.read_schema(path).metadata[b"avsep"])
    rewrite(path, settings | {"version": 2})
    with pytest.raises(CheckError, match="run the stage `mix` again"):
        read_training(path, AUDIO.__getitem__)
    for damaged in ({"seed": 1}, [], settings | {"seed": "x"}, settings | {"voices": []}):
        rewrite(path, damaged)
        with pytest.raises(CheckError, match="is damaged"):
            read_training(path, AUDIO.__getitem__)
    with pytest.raises(CheckError, match="add speakers"):
        TrainingDraw(training_list(voices=()), AUDIO.__getitem__)


def rewrite(path, settings, **columns) -> None:
    """Write a training file with other settings in its metadata, or with other columns."""
    table = pq.read_table(path)
    for name, values in columns.items():
        number = table.schema.get_field_index(name)
        field = table.schema.field(number)
        table = table.set_column(number, field, pa.array(values, field.type))
    metadata = {b"avsep": dump_json(settings).encode()} if settings is not None else None
    pq.write_table(table.replace_schema_metadata(metadata), path)


def test_damaged_training_file_is_one_sentence_and_never_a_wrong_mixture(tmp_path):
    path = tmp_path / "train.parquet"
    write_training(path, training_list())
    intact = path.read_bytes()
    settings = json.loads(pq.read_schema(path).metadata[b"avsep"])
    for runs in ([5, 2], [1, 3, 2, 4], [0, 99], [-1, 3], [1]):
        rewrite(path, settings, active=[[0, 50]] * (len(VOICES) - 1) + [runs])
        with pytest.raises(CheckError, match="not sorted, or not within"):
            read_training(path, AUDIO.__getitem__)
        path.write_bytes(intact)
    rewrite(path, settings, active=[[0, 50], [1, 60]] * (len(VOICES) // 2))  # as it should be
    assert read_training(path, AUDIO.__getitem__)(0).num_samples == WINDOW
    rewrite(path, None)
    with pytest.raises(CheckError, match=r"is not a train\.parquet"):
        read_training(path, AUDIO.__getitem__)
    for content in (b"", intact[: len(intact) // 2], b"{}"):
        path.write_bytes(content)
        with pytest.raises(CheckError, match="damaged"):
            read_training(path, AUDIO.__getitem__)
    pq.write_table(pa.table({"key": ["a"]}), path)
    with pytest.raises(CheckError, match="other columns"):
        read_training(path, AUDIO.__getitem__)


def test_file_of_an_earlier_version_is_named(tmp_path):
    (tmp_path / "train.json").write_text("{}")
    with pytest.raises(CheckError, match=r"train\.json was written by an earlier version"):
        read_training(tmp_path / "train.parquet", AUDIO.__getitem__)


@pytest.mark.slow
def test_recipes_are_those_of_voices_as_objects(tmp_path):
    """As they were drawn from `train.json`: a table of sorted lists of voices."""

    class Lists:
        def __init__(self, voices, num_samples, min_activity):
            self.num_samples, self.has_pairs = num_samples, True
            self.frames, self.min_activity = num_samples // 640, min_activity
            self.found = {}
            for made in sorted(voices, key=lambda one: (one.speaker, one.key)):
                if math.isfinite(made.level_dbfs) and len(self.starts(made)):
                    self.found.setdefault(made.speaker, []).append(made)
            self.speakers = tuple(self.found)

        def voices_of(self, speaker):
            return self.found[speaker]

        def starts(self, made):
            if made.num_frames < self.frames:
                return []
            speech = np.zeros(made.num_frames, int)
            for first, last in made.active:
                speech[first:last] = 1
            needed = math.ceil(self.min_activity * self.frames - 1e-9)
            starts = range(made.num_frames - self.frames + 1)
            return [s for s in starts if speech[s : s + self.frames].sum() >= needed]

    rng = np.random.default_rng(0)
    voices = []
    for number in range(60):
        length = int(rng.integers(10, 90))
        edges = np.sort(rng.integers(0, length + 1, 2 * int(rng.integers(0, 6))))
        runs = tuple((int(a), int(b)) for a, b in edges.reshape(-1, 2))
        level = -math.inf if number % 9 == 0 else -20.0 - number
        made = voice("s2-0", num_frames=length, active=runs, level_dbfs=level)
        speaker = f"S{number % 7}"
        voices.append(replace(made, key=f"{speaker}-{number}", speaker=speaker, group=speaker))
    write_training(tmp_path / "train.parquet", training_list(voices=voices))
    for frames in (1, 9, 30, 50):
        for share in (0.0, 0.3, 0.9):
            wanted = Lists(voices, 640 * frames, share)
            listed = training_list(voices=read_voices_of(tmp_path), min_activity=share)
            table = VoiceTable(listed.voices, 640 * frames, share)
            assert table.speakers == wanted.speakers
            assert [v.key for v in table.voices] == [v.key for s in wanted.speakers
                                                     for v in wanted.voices_of(s)]  # fmt: skip
            if table.has_pairs:
                for index in range(20):
                    assert draw_training(table, 1, 2, index) == draw_training(wanted, 1, 2, index)


def read_voices_of(folder):
    return read_training_list(folder / "train.parquet").voices


def test_opening_makes_no_voice_and_drawing_makes_two(tmp_path, monkeypatch):
    made = Counter()
    check = Voice.__post_init__
    many = [replace(VOICES[n % 18], key=f"{VOICES[n % 18].key}-{n}") for n in range(180)]
    for name, voices in (("few", VOICES), ("many", many)):
        (tmp_path / name).mkdir()
        write_training(tmp_path / name / "train.parquet", training_list(voices=voices))
    monkeypatch.setattr(
        Voice, "__post_init__", lambda self: (made.update(["voice"]), check(self))[1]
    )
    for name in ("few", "many"):
        made.clear()
        draw = read_training(tmp_path / name / "train.parquet", AUDIO.__getitem__)
        assert made["voice"] <= 40  # to see whether there are enough, whatever their number
        made.clear()
        for index in range(50):
            draw(index)
        # A pair of one speaker or group is drawn again.
        assert 100 <= made["voice"] <= 200


def test_pairs_are_found_whoever_shares_a_speaker_or_a_group():
    rng = np.random.default_rng(0)
    found = Counter()
    for _ in range(300):
        size = int(rng.integers(1, 4))
        kinds = [(f"s{s}", f"g{g}") for s, g in rng.integers(0, 3, (size, 2))]
        voices = [
            replace(VOICES[-1], key=f"{s}-{n}", speaker=s, group=g)
            for n, (s, g) in enumerate(kinds)
        ]
        any_pair = any(a != c and b != d for a, b in kinds for c, d in kinds)
        assert VoiceTable(voices, WINDOW, 0.0).has_pairs == any_pair, kinds
        found[any_pair] += 1
    assert min(found.values()) > 30
