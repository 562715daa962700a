"""Copies in other encodings are found; other sentences of the same head are not."""

import subprocess
from itertools import combinations

import numpy as np
import pytest

from avsep.cleaning import near_duplicates
from avsep.cleaning.check_clip import check_clip
from avsep.cleaning.config import Thresholds
from avsep.cleaning.fingerprint import (
    MIN_STEPS,
    Fingerprint,
    describe_sound,
    fingerprint,
    hash_pictures,
    picture_distance,
)
from avsep.cleaning.near_duplicates import (
    APART_S,
    LIKELY,
    SURE,
    NearDuplicate,
    find_near_duplicates,
    sound_similarity,
)
from avsep.cleaning.spectrum import power_spectra
from avsep.corpora.demo.corpus import DemoClip, talk
from avsep.corpora.demo.voices import load_speech
from avsep.media.encode import write_mp4
from avsep.media.ffmpeg import binary
from tests.support.clip_maker import raw_clip

NO_PICTURES = np.zeros((0, 8), np.uint8)
ENCODINGS = {
    "small.mp4": ["-vf", "scale=64:64", "-crf", "35", "-c:a", "aac", "-b:a", "24k"],
    "large.mp4": ["-vf", "scale=224:224", "-g", "12", "-c:a", "aac", "-ar", "44100"],
    "quiet.mp4": ["-crf", "20", "-filter:a", "volume=0.3", "-c:a", "aac"],
    "free.webm": ["-c:v", "libvpx", "-b:v", "100k", "-c:a", "libopus", "-b:a", "24k"],
}


def copies_among(prints: dict[str, tuple[float, Fingerprint]]) -> dict[str, NearDuplicate]:
    values = list(prints.values())
    return find_near_duplicates(
        list(prints), [length for length, _ in values], [print_ for _, print_ in values]
    )


def print_of(audio: np.ndarray) -> Fingerprint:
    return Fingerprint(describe_sound(power_spectra(audio)), NO_PICTURES)


@pytest.fixture(scope="module")
def heads(tmp_path_factory):
    """Three sentences of one still head, and the second in other encodings; checked."""
    folder = tmp_path_factory.mktemp("heads")
    for number in range(3):
        drawn = talk(DemoClip(speaker=0, number=number), seed=0, size=112)
        write_mp4(folder / f"{number}.mp4", (p for p, _ in drawn.frames), drawn.audio)
    for name, options in ENCODINGS.items():
        source, target = str(folder / "1.mp4"), str(folder / name)
        command = [binary(), "-loglevel", "error", "-i", source, *options, target]
        subprocess.run(command, check=True)
    found = {}
    for path in sorted(folder.iterdir()):
        check = check_clip(raw_clip(path), folder, Thresholds())
        print_ = Fingerprint.unpacked(check.fingerprint)
        assert print_ is not None
        found[path.name] = check.clip.duration_s, print_
    return found


@pytest.mark.slow
def test_each_encoding_is_a_copy_and_other_sentences_of_the_same_head_are_not(heads):
    assert {i: copy.of for i, copy in copies_among(heads).items()} == dict.fromkeys(
        ENCODINGS, "1.mp4"
    )
    original = heads["1.mp4"][1]
    for name in ENCODINGS:
        assert sound_similarity(original, heads[name][1]) > 0.995
        assert picture_distance(original, heads[name][1]) < 6
    for name in ("0.mp4", "2.mp4"):
        assert sound_similarity(original, heads[name][1]) < 0.5


@pytest.mark.slow
def test_no_two_clips_of_the_demo_corpus_are_near_duplicates():
    prints = {
        f"{speaker:02d}-{number:02d}": (3.0, print_of(audio))
        for speaker in range(16)
        for number, audio in enumerate(load_speech(speaker))
    }
    assert len(prints) == 384
    assert copies_among(prints) == {}
    most = max(sound_similarity(a, b) for (_, a), (_, b) in combinations(prints.values(), 2))
    assert most < 0.87 < LIKELY < SURE  # one voice, all words but one the same


@pytest.mark.parametrize(
    ("change", "least"),
    [
        (lambda a: a // 8, 0.99),
        (lambda a: np.clip(a.astype(int) * 4, -32768, 32767).astype(np.int16), 0.93),  # clipped
        (lambda a: a[160:], 0.95),  # begins 10 ms later
        (lambda a: a[:-1600], 0.95),  # ends 0.1 s earlier
        (lambda a: a + np.random.default_rng(0).normal(0, 100, len(a)).astype(np.int16), 0.93),
    ],
)
def test_what_another_encoding_may_do_keeps_the_sound_similar(change, least):
    audio = load_speech(3)[5]
    assert sound_similarity(print_of(audio), print_of(change(audio))) > least


def random_print(seed: int) -> Fingerprint:
    rng = np.random.default_rng(seed)
    return Fingerprint(rng.integers(-99, 99, (24, 12)).astype(np.int8), NO_PICTURES)


def nearly(print_: Fingerprint, share: float, pictures=NO_PICTURES) -> Fingerprint:
    """The same with some noise: a similarity of about 1 - share."""
    rng = np.random.default_rng(7)
    sound = print_.sound * 0.9 + rng.normal(0, 57 * 0.9 * (2 * share) ** 0.5, (24, 12))
    return Fingerprint(np.clip(sound.round(), -127, 127).astype(np.int8), pictures)


def test_between_sure_and_likely_the_pictures_decide():
    rng = np.random.default_rng(0)
    same, other = (rng.integers(0, 256, (8, 8)).astype(np.uint8) for _ in range(2))
    one = Fingerprint(random_print(0).sound, same)
    sure, likely = nearly(one, 0.01, other), nearly(one, 0.05)
    assert LIKELY < sound_similarity(one, likely) < SURE < sound_similarity(one, sure)
    assert set(copies_among({"a": (3, one), "b": (3, sure)})) == {"b"}
    for pictures, found in ((same, {"b"}), (other, set()), (NO_PICTURES, set())):
        copies = copies_among({"a": (3, one), "b": (3, nearly(one, 0.05, pictures))})
        assert set(copies) == found


def test_the_first_id_of_a_group_stays_and_lengths_bound_the_search():
    one = random_print(0)
    prints = {"c": (3.0, one), "a": (3.1, nearly(one, 0.005)), "b": (3.05, one)}
    assert copies_among(prints) == {
        "b": NearDuplicate("a", pytest.approx(1)),
        "c": NearDuplicate("a", 1.0),
    }
    apart = {"a": (3.0, one), "b": (3.01 + APART_S, one)}
    assert copies_among(apart) == {}


@pytest.mark.slow
def test_among_many_in_several_blocks_all_copies_are_found():
    rng = np.random.default_rng(1)
    prints = {f"{n:05d}": (3 + n % 7 * 0.01, random_print(n)) for n in range(5000)}
    chosen = sorted(rng.choice(5000, 50, replace=False))
    for n in chosen:
        seconds, print_ = prints[f"{n:05d}"]
        prints[f"x{n:05d}"] = seconds + 0.1, print_
    assert {i: c.of for i, c in copies_among(prints).items()} == {
        f"x{n:05d}": f"{n:05d}" for n in chosen
    }


@pytest.mark.parametrize("directions", [1, 48, 288])
def test_few_directions_neither_lose_nor_add_a_copy(monkeypatch, directions):
    """Where the first directions say nothing, pairs pass the bound that are not alike."""
    monkeypatch.setattr(near_duplicates, "DIRECTIONS", directions)
    pictures = np.zeros((8, 8), np.uint8)  # the same in all clips
    rng = np.random.default_rng(2)
    shared = rng.integers(-99, 99, (24, 12))
    prints = {}
    for number in range(60):
        sound = np.clip(shared + rng.normal(0, 40, (24, 12)), -127, 127).astype(np.int8)
        prints[f"{number:02d}"] = 3.0, Fingerprint(sound, pictures)
    prints["x"] = 3.0, nearly(prints["07"][1], 0.05, pictures)
    most = max(sound_similarity(a[1], b[1]) for a, b in combinations(list(prints.values())[:-1], 2))
    assert 0.6 < most < LIKELY < sound_similarity(prints["07"][1], prints["x"][1]) < SURE
    assert {i: c.of for i, c in copies_among(prints).items()} == {"x": "07"}


def test_short_and_empty_clips_are_never_compared():
    short = print_of(load_speech(3)[5][: int((MIN_STEPS - 1) * 4000)])
    assert not short.sound.any()
    assert copies_among({"a": (1.7, short), "b": (1.7, short)}) == {}
    assert copies_among({}) == {}
    steady = fingerprint(np.ones((200, 257), np.float32), np.zeros((0, 32, 32), np.uint8))
    assert copies_among({"a": (3.0, steady), "b": (3.0, steady)}) == {}
    assert picture_distance(steady, steady) == 64


def test_a_fingerprint_comes_back_from_text_and_damage_is_none():
    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 256, (8, 32, 32)).astype(np.uint8)
    one = Fingerprint(random_print(0).sound, hash_pictures(pictures))
    back = Fingerprint.unpacked(one.packed())
    assert back is not None
    assert (back.sound == one.sound).all()
    assert (back.pictures == one.pictures).all()
    for damaged in ("", "?", one.packed()[:-12], one.packed()[:40]):
        assert Fingerprint.unpacked(damaged) is None
