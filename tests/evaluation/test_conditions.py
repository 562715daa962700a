"""The three conditions change what the model sees; every estimate is made once, in order."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from avsep.errors import CheckError
from avsep.evaluation.babble import BabbleVoices
from avsep.evaluation.conditions import Condition, condition_cues, condition_sound, frozen
from avsep.evaluation.items import build_item
from avsep.evaluation.separate import estimate_keys, separate
from avsep.mixing.recipes import read_recipes
from avsep.schema import Cues
from avsep.shards.store import ShardStore
from tests.support.band_separator import BandSeparator
from tests.support.evaluation_world import make_item

ALL = tuple(Condition)


def test_own_and_other_are_the_arrays_of_the_voices(items):
    first, second = items[0].cues
    assert condition_cues(items[0].cues, 0, Condition.OWN) is first
    assert condition_cues(items[0].cues, 0, Condition.OTHER) is second
    assert condition_cues(items[0].cues, 1, Condition.OWN) is second
    assert condition_cues(items[0].cues, 1, Condition.OTHER) is first


def test_no_video_is_the_first_frame_with_a_face_repeated(items):
    cues = items[0].cues[0]
    valid = cues.valid.copy()
    valid[:3] = 0
    still = frozen(Cues(lips=cues.lips, landmarks=cues.landmarks, valid=valid))
    assert still.lips.shape == cues.lips.shape
    assert (still.lips == cues.lips[3]).all()
    assert (still.landmarks == cues.landmarks[3]).all()
    assert (still.valid == 1).all()
    nobody = frozen(Cues(lips=cues.lips, landmarks=cues.landmarks, valid=0 * valid))
    assert (nobody.lips == cues.lips[0]).all()
    assert (nobody.valid == 0).all()


def test_a_single_voice_has_no_other_video(items):
    with pytest.raises(ValueError, match="at least two voices"):
        condition_cues(items[0].cues[:1], 0, Condition.OTHER)


class Recorder(torch.nn.Module):
    """Records the inputs of each call."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[torch.Tensor, Cues]] = []

    def estimate(self, mixture: torch.Tensor, cues: Cues) -> torch.Tensor:
        self.seen.append((mixture, cues))
        return mixture


def test_each_estimate_uses_the_video_of_its_condition_and_no_batch_is_dropped(items):
    model = Recorder()
    keys = estimate_keys(items, ALL)
    done = list(separate(model, items, keys, batch=7))
    assert [key for key, _ in done] == keys  # 5 mixtures x 2 voices x 3 conditions
    assert [len(mixture) for mixture, _ in model.seen] == [7, 7, 7, 7, 2]
    lips = torch.cat([cues.lips for _, cues in model.seen])
    for (key, estimate), shown in zip(done, lips, strict=True):
        wanted = condition_cues(items[key.item].cues, key.target, key.condition)
        assert np.array_equal(shown.numpy(), wanted.lips)
        assert np.array_equal(estimate, items[key.item].mixture)


def test_mixtures_of_unequal_length_never_share_a_batch():
    items = [make_item(0, 25), make_item(1, 30), make_item(2, 25)]
    model = Recorder()
    keys = estimate_keys(items, (Condition.OWN,))
    done = dict(separate(model, items, keys, batch=8))
    assert [tuple(mixture.shape) for mixture, _ in model.seen] == [(4, 16000), (2, 19200)]
    assert done.keys() == set(keys)


def test_an_estimate_of_the_wrong_length_is_refused(items):
    class Short(torch.nn.Module):
        def estimate(self, mixture, cues):
            return mixture[:, 1:]

    with pytest.raises(ValueError, match="both must be equal"):
        list(separate(Short(), items, estimate_keys(items, ALL), batch=4))


def test_batch_size_does_not_change_the_estimates(items):
    model = BandSeparator().eval()
    keys = estimate_keys(items, ALL)
    one = dict(separate(model, items, keys, batch=1))
    many = dict(separate(model, items, keys, batch=30))
    for key in keys:
        np.testing.assert_allclose(one[key], many[key], atol=1e-6)


def test_a_damage_is_a_condition_of_its_own_and_does_not_depend_on_the_batch(items):
    cues = items[0].cues
    first = condition_cues(cues, 0, "covered@0.5", "m1")
    again = condition_cues(cues, 0, "covered@0.5", "m1")
    assert np.array_equal(first.lips, again.lips)
    assert not np.array_equal(first.lips, cues[0].lips)
    other = condition_cues(cues, 0, "covered@0.5", "m2")
    assert not np.array_equal(first.lips, other.lips)
    assert np.array_equal(condition_cues(cues, 0, "own", "m1").lips, cues[0].lips)


def test_a_damage_to_the_sound_shows_the_own_video_and_is_the_same_each_time(items):
    item = items[0]
    assert condition_cues(item.cues, 1, "noise@0.5", "m1") is item.cues[1]
    for kind in ("reverberant", "noise", "quiet", "weaker"):
        first, again = (condition_sound(item, 0, f"{kind}@0.5") for _ in range(2))
        assert np.array_equal(first[0], again[0])
        assert np.array_equal(first[1], again[1])
        assert not np.array_equal(first[0], item.mixture)
    for name in (*ALL, "covered@0.5"):
        mixture, sources = condition_sound(item, 0, name)
        assert mixture is item.mixture
        assert sources is item.sources


def test_all_voices_hear_one_room_and_the_wanted_one_is_the_weaker(items):
    item = items[0]
    for kind in ("reverberant", "noise"):
        first, second = (condition_sound(item, target, kind)[0] for target in (0, 1))
        assert np.array_equal(first, second)
    for target in (0, 1):
        _, sources = condition_sound(item, target, "weaker@1")
        wanted = 10 ** (-15 / 20) * item.sources[target]
        np.testing.assert_allclose(sources[target], wanted, rtol=1e-6)
        assert np.array_equal(sources[1 - target], item.sources[1 - target])


def test_the_noise_of_a_list_stays_under_a_damaged_sound(items):
    noise = np.full_like(items[0].mixture, 0.01)
    item = replace(items[0], mixture=items[0].mixture + noise)
    for kind in ("reverberant@0.4", "noise@0.4", "weaker@0.4"):
        with_it, without = (condition_sound(i, 0, kind)[0] for i in (item, items[0]))
        np.testing.assert_allclose(with_it - without, noise, atol=1e-6)


def test_each_estimate_is_made_from_the_sound_of_its_condition(items):
    model = Recorder()
    keys = estimate_keys(items[:2], ("own", "quiet@1"))
    for key, heard in separate(model, items, keys, batch=3):
        assert np.array_equal(heard, condition_sound(items[key.item], 0, key.condition)[0])


def test_babble_is_made_of_other_speakers_of_the_split(workspace):
    store = ShardStore(workspace.shards)
    read, whole = [], store.audio
    store.audio = lambda key: read.append(key) or whole(key)
    recipe = read_recipes(workspace.mixtures / "test.jsonl")[0]  # clips 0 and 1, of one group
    babble = BabbleVoices(store, "test").draw(recipe)
    assert sorted(read) == [f"clip{n:02d}-t0" for n in (2, 3, 4, 5)]
    assert babble.shape == (recipe.num_samples,)
    assert np.array_equal(babble, BabbleVoices(store, "test").draw(recipe))
    assert not np.array_equal(
        babble, BabbleVoices(store, "test").draw(replace(recipe, mixture_id="another"))
    )
    item = build_item(store, recipe, BabbleVoices(store, "test"))
    added = condition_sound(item, 0, "babble@0.5")[0] - item.mixture
    power = np.square([added, item.sources.sum(axis=0)]).sum(axis=1)
    assert 10 * np.log10(power[1] / power[0]) == pytest.approx(6.02, abs=0.1)
    for split in ("train", "val"):  # one voice of the same group, and none
        with pytest.raises(CheckError, match="babble"):
            BabbleVoices(store, split).draw(recipe)
