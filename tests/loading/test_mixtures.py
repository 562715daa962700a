import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from avsep.errors import CheckError
from avsep.loading.augment import crop_lips
from avsep.loading.clips import ListedClips, TrainClips
from avsep.loading.config import AugmentConfig
from avsep.loading.mixtures import ListedMixtures, TrainMixtures, collate
from avsep.loading.sampler import EpochSampler, ListSampler
from avsep.loading.speed import speeds_within
from avsep.sound_damage import BABBLE_VOICES
from tests.support.synthetic_store import SyntheticStore, index_of

CUES = ("lips", "landmarks")
SHAKE = AugmentConfig(crop=True, flip=0.5, shift_frames=2, noise_px=0.5, level_db=6)


@pytest.fixture(scope="module")
def store():
    return SyntheticStore()


def train(store, **options):
    return TrainMixtures(store, store.draw(30), seed=4, **{"cues": CUES, **options})


def same(one, other):
    assert one.keys() == other.keys()
    return all(np.array_equal(one[name], other[name]) for name in one)


def test_an_item_is_a_pure_function_of_its_number(store):
    first, second = train(store, augment=SHAKE), train(store, augment=SHAKE)
    later = [first[n] for n in (5, 3, 11)]
    assert all(same(second[n], item) for n, item in zip((5, 3, 11), later, strict=True))
    assert not same(first[5], first[7])
    # Whatever was asked for before, the other half of the same mixture included.
    assert same(first[10], train(store, augment=SHAKE)[10])
    other_seed = TrainMixtures(store, store.draw(30), seed=5, cues=CUES, augment=SHAKE)
    assert not np.array_equal(other_seed[5]["landmarks"], first[5]["landmarks"])


def test_an_item_holds_what_it_should(store):
    item = train(store, augment=SHAKE)[2]
    shapes = {name: (v.shape, str(v.dtype)) for name, v in item.items() if hasattr(v, "shape")}
    assert shapes == {
        "mixture": ((19200,), "float32"),
        "target": ((19200,), "float32"),
        "other": ((19200,), "float32"),
        "lips": ((30, 88, 88), "uint8"),
        "landmarks": ((30, 68, 3), "float32"),
        "valid": ((30,), "uint8"),
        "positions": ((30,), "float32"),
    }
    np.testing.assert_allclose(item["target"] + item["other"], item["mixture"], atol=1e-6)


@pytest.mark.parametrize("paired", [True, False])
def test_the_video_belongs_to_the_target(store, paired):
    data = train(store, paired=paired)
    for number in range(6):
        item = data[number]
        loud = np.abs(item["target"]).reshape(30, 640).mean(1)
        mouth = item["lips"][:, 28:60, 28:60].mean((1, 2))
        opening = item["landmarks"][:, 66, 1] - item["landmarks"][:, 62, 1]
        assert np.corrcoef(loud, mouth)[0, 1] > 0.9
        assert np.corrcoef(loud, opening)[0, 1] > 0.9


def test_paired_items_show_both_voices_of_one_mixture(store):
    data = train(store, augment=SHAKE)
    for number in (0, 4):
        one, two = data[number], data[number + 1]
        np.testing.assert_array_equal(one["mixture"], two["mixture"])
        np.testing.assert_array_equal(one["target"], two["other"])
        assert one["key"] != two["key"]


def test_a_mixture_of_three_has_two_others(store):
    draw = store.draw(30, "strict-3mix")
    data = TrainMixtures(store, draw, seed=4, cues=CUES, augment=SHAKE)
    one, two = data[0], data[1]
    np.testing.assert_array_equal(one["mixture"], two["mixture"])
    assert {one["key"], two["key"]} < {source.key for source in draw(0).sources}
    for item in (one, two):
        np.testing.assert_allclose(item["target"] + item["other"], item["mixture"], atol=1e-6)
    assert not np.array_equal(one["target"], two["other"])  # a third voice is in it


def test_a_damaged_sound_is_the_same_for_both_items_and_not_the_sum_of_the_voices(store):
    loud = AugmentConfig(sound=1.0)
    one, again = train(store, augment=loud), train(store, augment=loud)
    sums = []
    for number in range(0, 40, 2):
        first, second = one[number], one[number + 1]
        assert same(first, again[number])
        assert np.array_equal(first["mixture"], second["mixture"])
        assert np.array_equal(first["target"], second["other"])
        sums.append(np.allclose(first["mixture"], first["target"] + first["other"], atol=1e-4))
    assert 3 < sum(sums) < 17  # quiet and weaker mixtures are sums, the others are not


@pytest.mark.slow
def test_babble_in_training_is_of_other_speakers_and_the_same_in_any_order(store):
    class Listening(SyntheticStore):
        def audio_window(self, key, start, count):
            read.append(key)
            return super().audio_window(key, start, count)

    data = train(Listening(), cues=(), augment=AugmentConfig(sound=1.0))
    babbling = found = 0
    for number in range(0, 40, 2):
        read = []
        item = data[number]
        own, others = read[:2], read[2:]
        assert not {key[0] for key in own} & {key[0] for key in others}
        assert len(others) <= BABBLE_VOICES
        babbling += bool(others)
        found += len(others)
        assert same(item, train(store, cues=(), augment=AugmentConfig(sound=1.0))[number])
    assert 0 < babbling < 12
    assert found > 3 * babbling


def test_unpaired_items_are_all_different_mixtures(store):
    data = train(store, paired=False)
    assert len({data[number]["mixture"].tobytes() for number in range(8)}) == 8


def test_only_the_wanted_cues_are_read(store):
    class Deaf(SyntheticStore):
        def landmarks(self, key):
            raise AssertionError("landmarks were read")

    assert "landmarks" not in TrainMixtures(Deaf(), store.draw(30), seed=0, cues=("lips",))[0]


def test_augmentation_stays_within_its_bounds(store):
    plain, shaken = train(store), train(store, augment=SHAKE)
    levels = []
    for number in range(0, 20, 2):
        one, other = plain[number], shaken[number]
        levels.append(
            20 * np.log10(np.linalg.norm(other["mixture"]) / np.linalg.norm(one["mixture"]))
        )
        moved = other["landmarks"] - one["landmarks"]
        assert np.abs(moved[:, :48]).max() < 6
    assert max(np.abs(levels)) <= 6
    assert np.ptp(levels) > 3


@pytest.mark.slow
def test_a_voice_is_played_faster_or_slower_together_with_its_video(store):
    plain, changed = train(store), train(store, augment=AugmentConfig(speed=0.25))
    rates = set()
    for number in range(0, 40, 2):
        before, after = plain[number], changed[number]
        rate = float(np.diff(after["positions"]).mean())
        rates.add(round(rate, 3))
        pitch = [np.abs(np.fft.rfft(item["target"])).argmax() for item in (before, after)]
        assert pitch[1] / pitch[0] == pytest.approx(rate, rel=0.03)
        loud = np.abs(after["target"]).reshape(30, 640).mean(1)
        mouth = after["lips"][:, 28:60, 28:60].mean((1, 2))
        opening = after["landmarks"][:, 66, 1] - after["landmarks"][:, 62, 1]
        if np.ptp(loud) > 0.02:
            assert np.corrcoef(loud, mouth)[0, 1] > 0.85
            assert np.corrcoef(loud, opening)[0, 1] > 0.85
        np.testing.assert_array_equal(after["mixture"], changed[number + 1]["mixture"])
    assert min(rates) < 0.9
    assert max(rates) > 1.15
    assert all(0.75 <= rate <= 1.25 for rate in rates)


@pytest.mark.parametrize("how", [{"eq_db": 6}, {"formants": 0.3}])
def test_voices_are_coloured_each_by_itself_and_stay_as_loud(store, how):
    plain, changed = train(store), train(store, augment=AugmentConfig(**how))
    tilts = []
    for number in range(0, 12, 2):
        before, after = plain[number], changed[number]
        for name in ("target", "other"):
            energy = [float(np.square(item[name]).sum()) for item in (before, after)]
            assert energy[1] == pytest.approx(energy[0], rel=0.02)
        shapes = [
            np.abs(np.fft.rfft(after[name])) / (np.abs(np.fft.rfft(before[name])) + 1e-3)
            for name in ("target", "other")
        ]
        tilts.append(np.abs(np.log(shapes[0][300:2000] / shapes[1][300:2000])).mean())
        np.testing.assert_allclose(after["target"] + after["other"], after["mixture"], atol=1e-6)
        same_mixture = changed[number + 1]
        np.testing.assert_array_equal(after["mixture"], same_mixture["mixture"])
    assert np.mean(tilts) > 0.1


def test_speeds_keep_to_their_share_and_short_clips_are_left_alone():
    assert speeds_within(0.0) == [25]
    assert speeds_within(0.2) == list(range(21, 32))
    short = SyntheticStore(num_frames=31)
    items = TrainMixtures(
        short, short.draw(30), seed=0, cues=CUES, augment=AugmentConfig(speed=0.25)
    )
    for number in range(12):
        assert items[number]["positions"][-1] <= 30


def test_lips_are_cut_at_one_place_for_the_whole_clip():
    rng = np.random.default_rng(0)
    lips = np.tile(np.arange(96 * 96, dtype=np.uint32).reshape(1, 96, 96), (4, 1, 1))
    seen = set()
    for _ in range(60):
        cut = crop_lips(lips, AugmentConfig(crop=True, flip=0.5), rng)
        assert cut.shape == (4, 88, 88)
        assert (cut == cut[:1]).all()
        corner, step = int(cut[0, 0, 0]), int(cut[0, 0, 1]) - int(cut[0, 0, 0])
        seen.add((corner // 96, corner % 96 - (87 if step == -1 else 0), step))
    assert {step for _, _, step in seen} == {1, -1}
    assert {top for top, _, _ in seen} == {left for _, left, _ in seen} == set(range(9))


def test_another_light_bends_the_greys_and_keeps_black_and_white():
    ramp = np.tile(np.arange(96, dtype=np.uint8) * 2, (2, 96, 1))
    ramp[:, :, 10] = 0
    ramp[:, :, 20] = 255
    middles = []
    for seed in range(20):
        cut = crop_lips(ramp, AugmentConfig(light=1.0), np.random.default_rng(seed))
        assert cut[0, 0, 6] == 0
        assert cut[0, 0, 16] == 255
        assert (np.diff(cut[0, 0, 20:].astype(int)) >= 0).all()
        middles.append(int(cut[0, 0, 50]))
    assert min(middles) < 60
    assert max(middles) > 140


def test_without_augmentation_the_centre_is_cut(store):
    plain = train(store)[0]
    whole = store.lips(plain["key"])[int(plain["positions"][0]) :][:30]
    np.testing.assert_array_equal(plain["lips"], whole[:, 4:92, 4:92])


def test_a_list_gives_each_voice_of_each_mixture_and_keeps_the_last_batch(store):
    recipes = store.val(3, 30)
    data = ListedMixtures(store, recipes, cues=CUES)
    sampler = ListSampler(num_items=len(data), batch=4)
    batches = list(DataLoader(data, batch_sampler=sampler, collate_fn=collate))
    assert [len(batch["item"]) for batch in batches] == [4, 2]
    keys = [key for batch in batches for key in batch["key"]]
    assert keys == [source.key for recipe in recipes for source in recipe.sources]
    assert batches[0]["lips"].shape == (4, 30, 96, 96)


@pytest.mark.slow
def test_a_changed_or_missing_sample_is_noticed(store):
    recipes = store.val(2, 30)
    other = SyntheticStore(clips=1)
    with pytest.raises(CheckError, match="run the stage `mix` again"):
        ListedMixtures(other, recipes, cues=CUES)
    changed = SyntheticStore()
    changed.index = index_of(replace(row, audio_sha256="x") for row in changed.index)
    with pytest.raises(CheckError, match="from another"):
        ListedMixtures(changed, recipes, cues=CUES)


def test_a_sample_that_is_too_short_is_named(store):
    short = SyntheticStore(num_frames=40)
    short._clips = {k: (store.audio(k), v[1], v[2]) for k, v in short._clips.items()}
    recipes = [r for r in store.val(6, 30) if max(s.start for s in r.sources) > 10 * 640]
    with pytest.raises(CheckError, match="has 40 frames; a mixture needs 30 from frame"):
        data = ListedMixtures(short, recipes, cues=("lips",))
        [data[n] for n in range(len(data))]


@pytest.mark.slow
def test_workers_give_the_same_batches(store):
    data = train(store, augment=SHAKE)
    alone, helped = (
        list(
            DataLoader(
                data,
                batch_sampler=EpochSampler(items=2, steps=3),
                collate_fn=collate,
                num_workers=workers,
            )
        )
        for workers in (0, 2)
    )
    for one, other in zip(alone, helped, strict=True):
        assert all(
            torch.equal(one[n], other[n]) if torch.is_tensor(one[n]) else one[n] == other[n]
            for n in one
        )


def test_items_survive_a_pickle(store):
    data = train(store)
    assert same(pickle.loads(pickle.dumps(data))[3], data[3])


def test_unequal_lengths_are_refused():
    with pytest.raises(ValueError, match="unequal lengths"):
        collate([{"mixture": np.zeros(3)}, {"mixture": np.zeros(4)}])


def test_clips_for_the_lip_encoder_keep_sound_and_picture_together(store):
    data = TrainClips(store, seed=1, num_frames=25, augment=AugmentConfig(crop=True, flip=0.5))
    again = TrainClips(store, seed=1, num_frames=25, augment=AugmentConfig(crop=True, flip=0.5))
    assert same(data[7], again[7])
    splits = {row.key: row.split for row in store.index}
    for number in range(8):
        item = data[number]
        assert splits[item["key"]] == "train"
        assert item["lips"].shape == (25, 88, 88)
        assert item["audio"].shape == (16000,)
        loud = np.abs(item["audio"]).reshape(25, 640).mean(1)
        mouth = item["lips"][:, 30:58, 30:58].mean((1, 2))
        if np.ptp(loud) > 0.01:
            assert np.corrcoef(loud, mouth)[0, 1] > 0.9
    assert {
        row.split
        for row in store.index
        if row.key in {ListedClips(store, split="val", num_frames=25)[0]["key"]}
    } == {"val"}


def test_clips_that_carry_two_voices_or_are_short_are_left_out(store):
    with pytest.raises(CheckError, match="no train clip of one voice with 61 frames"):
        TrainClips(store, seed=0, num_frames=61)


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"flip": 1.5}, "flip is 1.5"),
        ({"noise_px": -1.0}, "noise_px is -1"),
        ({"sound": -0.1}, "sound is -0.1"),
        ({"formants": 0.6}, "formants is 0.6"),
    ],
)
def test_nonsense_augmentation_is_refused(changes, word):
    with pytest.raises(ValueError, match=word):
        AugmentConfig(**changes)
