"""Which device a rank trains on, and by which kernels."""

import os

import pytest
import torch

from avsep.errors import CheckError
from avsep.training.process import pick_device, set_up_process


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


@pytest.fixture
def switches():
    """PyTorch's switches, put back afterwards."""
    yield
    torch.use_deterministic_algorithms(False)
    torch.backends.cudnn.benchmark = False


@pytest.mark.parametrize(
    ("count", "device", "asked", "deterministic"),
    [
        (0, "auto", False, True),
        (1, "cpu", False, True),
        (1, "auto", False, False),
        (1, "cuda", False, False),
        (1, "auto", True, True),
    ],
)
def test_kernels_are_deterministic_on_cpus_and_where_asked_for(
    gpus, switches, monkeypatch, count, device, asked, deterministic
):
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    gpus(count, 1)
    set_up_process(seed=0, threads=0, device=device, deterministic=asked)
    assert torch.are_deterministic_algorithms_enabled() == deterministic
    assert torch.backends.cudnn.benchmark != deterministic
    assert ("CUBLAS_WORKSPACE_CONFIG" in os.environ) == (asked and count > 0)
    assert not torch.utils.deterministic.fill_uninitialized_memory
