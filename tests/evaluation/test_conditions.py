"""The three conditions really change what the model sees, and the runner keeps order and count."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from avsep.evaluation.conditions import Condition, condition_cues, frozen
from avsep.evaluation.separate import all_jobs, separate
from avsep.schema import Cues
from tests.support.band_separator import BandSeparator

ALL = tuple(Condition)


def test_own_and_other_are_the_voices_own_arrays(items):
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


def test_a_single_voice_has_no_other(items):
    with pytest.raises(ValueError, match="at least two voices"):
        condition_cues(items[0].cues[:1], 0, Condition.OTHER)


class Recorder(torch.nn.Module):
    """Notes what it was shown."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[torch.Tensor, Cues]] = []

    def estimate(self, mixture: torch.Tensor, cues: Cues) -> torch.Tensor:
        self.seen.append((mixture, cues))
        return mixture


def test_the_model_is_shown_the_video_of_each_job_and_no_batch_is_dropped(items):
    model = Recorder()
    jobs = all_jobs(items, ALL)
    done = list(separate(model, items, jobs, batch=7))
    assert [job for job, _ in done] == jobs  # 5 mixtures x 2 voices x 3 conditions
    assert [len(mixture) for mixture, _ in model.seen] == [7, 7, 7, 7, 2]
    lips = torch.cat([cues.lips for _, cues in model.seen])
    for (job, estimate), shown in zip(done, lips, strict=True):
        wanted = condition_cues(items[job.item].cues, job.target, job.condition)
        assert np.array_equal(shown.numpy(), wanted.lips)
        assert np.array_equal(estimate, items[job.item].mixture)


def test_mixtures_of_unequal_length_never_share_a_batch(item_maker):
    items = [item_maker(0, 25), item_maker(1, 30), item_maker(2, 25)]
    model = Recorder()
    jobs = all_jobs(items, (Condition.OWN,))
    done = dict(separate(model, items, jobs, batch=8))
    assert [tuple(mixture.shape) for mixture, _ in model.seen] == [(4, 16000), (2, 19200)]
    assert done.keys() == set(jobs)


def test_a_model_of_wrong_length_is_refused(items):
    class Short(torch.nn.Module):
        def estimate(self, mixture, cues):
            return mixture[:, 1:]

    with pytest.raises(ValueError, match="both must be equal"):
        list(separate(Short(), items, all_jobs(items, ALL), batch=4))


def test_batch_size_does_not_change_the_estimates(items):
    model = BandSeparator().eval()
    jobs = all_jobs(items, ALL)
    one = dict(separate(model, items, jobs, batch=1))
    many = dict(separate(model, items, jobs, batch=30))
    for job in jobs:
        np.testing.assert_allclose(one[job], many[job], atol=1e-6)
