import pytest
from torch.utils.data import DataLoader

from avsep.loading.sampler import EpochSampler, ListSampler


def test_epochs_follow_each_other_without_a_repeat_or_a_gap():
    sampler = EpochSampler(batch=3, steps=4)
    numbers = []
    for number in range(3):
        sampler.set_epoch(number)
        assert len(list(sampler)) == len(sampler) == 4
        numbers += [i for batch in sampler for i in batch]
    assert numbers == list(range(36))


def test_ranks_share_the_row_and_take_equal_steps():
    ranks = [EpochSampler(batch=2, steps=5, rank=r, num_ranks=3) for r in range(3)]
    batches = [list(sampler) for sampler in ranks]
    assert {len(b) for b in batches} == {5}
    together = [i for step in zip(*batches, strict=True) for batch in step for i in batch]
    assert together == list(range(30))


def test_the_position_is_a_function_of_the_epoch():
    sampler = EpochSampler(batch=2, steps=2)
    sampler.set_epoch(5)
    other = EpochSampler(batch=2, steps=2)
    other.epoch = 5
    assert list(other) == list(sampler) == [[20, 21], [22, 23]]


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


def test_lightning_finds_the_epoch_through_the_loader():
    loader = DataLoader(range(100), batch_sampler=EpochSampler(batch=2, steps=2))
    loader.batch_sampler.sampler.set_epoch(3)
    assert [batch.tolist() for batch in loader] == [[12, 13], [14, 15]]


def test_an_empty_list_and_wrong_ranks_are_refused():
    with pytest.raises(ValueError, match="list of mixtures is empty"):
        ListSampler(num_items=0, batch=1)
    with pytest.raises(ValueError, match="rank 2"):
        EpochSampler(batch=1, steps=1, rank=2, num_ranks=2)
