"""Which device a rank trains on."""

import pytest
import torch

from avsep.errors import CheckError
from avsep.training.process import pick_device


@pytest.fixture
def gpus(monkeypatch):
    """Pretend to have some GPUs and to be one of several ranks."""

    current = []

    def pretend(count: int, ranks: int, rank: int = 0) -> list[torch.device]:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
        monkeypatch.setattr(torch.cuda, "set_device", current.append)
        monkeypatch.setenv("LOCAL_WORLD_SIZE", str(ranks))
        monkeypatch.setenv("LOCAL_RANK", str(rank))
        return current

    return pretend


@pytest.mark.parametrize(
    ("count", "ranks", "device"),
    [(0, 1, "cpu"), (0, 2, "cpu"), (1, 1, "cuda:0"), (1, 2, "cpu"), (2, 2, "cuda:0")],
)
def test_auto_takes_a_gpu_only_where_each_rank_has_one(gpus, count, ranks, device):
    """The demo trains in two processes, also on a machine with a single GPU."""
    gpus(count, ranks)
    assert str(pick_device("auto")) == device
    assert str(pick_device("cpu")) == "cpu"


def test_each_rank_has_a_gpu_of_its_own(gpus):
    current = gpus(2, 2, rank=1)
    assert str(pick_device("cpu")) == "cpu"
    assert not current
    assert str(pick_device("auto")) == str(pick_device("cuda")) == "cuda:1"
    assert current == [torch.device("cuda", 1)] * 2  # Triton launches on the current one


@pytest.mark.parametrize(("count", "ranks"), [(0, 1), (1, 2)])
def test_too_few_gpus_are_named_with_the_cure(gpus, count, ranks):
    gpus(count, ranks)
    with pytest.raises(CheckError, match=rf"{ranks} process.* sees {count} GPU.*set devices to"):
        pick_device("cuda")
