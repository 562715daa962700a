import pytest

from avsep.loading.sampler import EpochSampler, ListSampler


def test_epochs_follow_each_other_without_a_repeat_or_a_gap():
    done = 0
    sampler = EpochSampler(items=3, steps=4, position=lambda: done)
    numbers = []
    for _ in range(3):
        steps = list(sampler)
        assert len(steps) == 4
        numbers += [i for step in steps for i in step]
        done += 4
    assert numbers == list(range(36))


@pytest.mark.parametrize("stop", range(12))
def test_an_epoch_goes_on_at_any_step(stop):
    done = stop
    sampler = EpochSampler(items=2, steps=4, position=lambda: done)
    numbers = list(range(2 * stop))
    while done < 12:
        steps = list(sampler)
        numbers += [i for step in steps for i in step]
        done += len(steps)
        assert done % 4 == 0
    assert numbers == list(range(24))


@pytest.mark.parametrize("num_ranks", [1, 2, 3, 6])
def test_ranks_share_each_step_whatever_their_number(num_ranks):
    ranks = [
        list(EpochSampler(items=6, steps=5, rank=r, num_ranks=num_ranks)) for r in range(num_ranks)
    ]
    assert {len(steps) for steps in ranks} == {5}
    for number, step in enumerate(zip(*ranks, strict=True)):
        together = [i for share in step for i in share]
        assert together == list(range(6 * number, 6 * number + 6))


@pytest.mark.parametrize(("num_items", "num_ranks"), [(7, 1), (7, 2), (8, 3), (2, 3), (1, 4)])
def test_a_list_is_covered_whole_with_equal_steps_on_each_rank(num_items, num_ranks):
    ranks = [
        list(ListSampler(num_items=num_items, batch=3, rank=r, num_ranks=num_ranks))
        for r in range(num_ranks)
    ]
    assert len({len(batches) for batches in ranks}) == 1
    assert {i for batches in ranks for batch in batches for i in batch} == set(range(num_items))


def test_the_last_batch_is_kept():
    assert list(ListSampler(num_items=7, batch=3)) == [[0, 1, 2], [3, 4, 5], [6]]


def test_an_empty_list_and_wrong_ranks_are_refused():
    with pytest.raises(ValueError, match="list of mixtures is empty"):
        ListSampler(num_items=0, batch=1)
    with pytest.raises(ValueError, match="rank 2"):
        EpochSampler(items=2, steps=1, rank=2, num_ranks=2)
    with pytest.raises(ValueError, match="2 ranks cannot share 3 items"):
        EpochSampler(items=3, steps=1, num_ranks=2)
