"""The device that is asked for becomes the one that Triton launches on."""

import pytest
import torch

from avsep.separation.resolve_model import resolve_device


@pytest.mark.parametrize(
    ("device", "number", "resolved", "current"),
    [
        ("cuda:1", None, "cuda:1", [1]),
        ("auto", 1, "cuda:1", [1]),
        ("cuda", None, "cuda", [0]),
        ("auto", None, "cuda", []),
        ("cpu", None, "cpu", []),
        ("cuda:1", -1, "cpu", []),
    ],
)
def test_a_gpu_that_is_asked_for_becomes_the_current_one(
    monkeypatch, device, number, resolved, current
):
    seen = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", seen.append)
    assert resolve_device(device, number) == resolved
    assert seen == current
