"""The three conditions change what the model sees; every estimate is made once, in order."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from avsep.evaluation.conditions import Condition, condition_cues, frozen
from avsep.evaluation.separate import estimate_keys, separate
from avsep.schema import Cues
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
