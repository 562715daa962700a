"""A decode worker of `extract` takes little memory, and no more after many clips than after a few.

`tests/scenarios/worker_memory.py` does the same over 500 clips.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.support.worker_memory import memory_of_worker

MIB = 2**20
LIMIT, GROWTH = 400 * MIB, 8 * MIB
WARM = 12  # clips after which every kind of video has been seen twice


@pytest.mark.skipif("AVSEP_FAULTS" not in os.environ, reason="runs with `make test-faults`")
@pytest.mark.parametrize(
    ("options", "clips"),
    [
        ({"engine": "litert"}, 60),
        ({"engine": "openvino"}, 24),
        ({"engine": "torch", "device": "cpu"}, 24),
    ],
    ids=["litert", "openvino", "torch"],
)
def test_memory_of_a_worker_is_small_and_flat(
    tmp_path: Path, options: dict[str, object], clips: int
) -> None:
    sizes = memory_of_worker(tmp_path, clips, options)
    assert len(sizes) == clips
    assert max(peak for _, peak in sizes) < LIMIT
    assert sizes[-1][0] - sizes[WARM][0] < GROWTH
