"""Loaders of a training: as many processes as the machine suggests, and validation in them too."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from torch.utils.data._utils import signal_handling

from avsep.errors import CheckError
from avsep.loading.sampler import ListSampler
from avsep.training import loaders
from avsep.training.config import RunSettings
from avsep.training.fit import _one_sentence, fit
from tests.support.toy_fit import Tones, make_task

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("wanted", "device", "ranks", "cores", "expected"),
    [
        (None, "cpu", 1, 64, 0),
        (None, "cuda", 1, 1, 1),
        (None, "cuda", 1, 8, 7),
        (None, "cuda", 8, 128, 15),
        (None, "cuda", 1, 64, 16),
        (None, "cuda", 4, 4, 1),
        (0, "cuda", 1, 8, 0),
        (3, "cpu", 2, 2, 3),
    ],
)
def test_cores_and_gpus_decide_on_the_number_of_processes(
    monkeypatch, wanted, device, ranks, cores, expected
):
    monkeypatch.setattr(loaders, "default_workers", lambda: cores)
    assert RunSettings(workers=wanted).workers == wanted
    assert loaders.loading_processes(wanted, device, ranks) == expected


@pytest.mark.parametrize(
    ("workers", "processes"), [(None, 1), (0, 1), (1, 2), (4, 8), (12, 16), (28, 32)]
)
def test_the_loading_processes_of_a_device_share_its_cache(workers, processes):
    settings = RunSettings(device="cpu", workers=workers, cache_mb=64)
    assert loaders.cache_bytes(settings) == (64 << 20) // processes


def test_at_most_four_processes_load_for_validation():
    assert [loaders.validating_processes(n, 9) for n in (0, 3, 16)] == [0, 3, 4]
    assert loaders.validating_processes(16, 2) == 2


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_batches_are_prefetched_and_pinned_only_for_a_gpu(device):
    for workers in (0, 2):
        loader = loaders.make_loader(
            Tones(), ListSampler(num_items=4, batch=2), workers=workers, device=device, timeout_s=9
        )
        assert loader.pin_memory is (device == "cuda")
        assert loader.persistent_workers is (workers > 0)
        assert loader.prefetch_factor == (loaders.PREFETCH if workers else None)


class Elsewhere(Tones):
    """Items that this process must not load."""

    here = os.getpid()

    def __getitem__(self, number):
        assert os.getpid() != self.here
        return super().__getitem__(number)


@pytest.mark.slow
def test_training_and_validation_load_in_processes_and_come_to_the_same(tmp_path):
    fitted = []
    for workers, data in ((0, Tones), (2, Elsewhere)):
        task = make_task(steps=4)
        settings = RunSettings(precision="fp32", device="cpu", workers=workers)
        fit(task, data(), data(), run=settings, directory=tmp_path / str(workers), name="toy")
        fitted.append(task)
    one, other = fitted
    assert [row["val_si_sdr"] for row in one.history] == [
        row["val_si_sdr"] for row in other.history
    ]
    for name, value in one.model.state_dict().items():
        assert torch.equal(value, other.model.state_dict()[name])


def test_a_process_that_is_killed_as_it_starts_is_noticed_at_once(monkeypatch):
    watch = signal_handling._set_worker_pids

    def killed_before(loader, processes):
        for process in processes:
            os.kill(process, signal.SIGKILL)
            os.waitid(os.P_PID, process, os.WEXITED | os.WNOWAIT)
        watch(loader, processes)

    monkeypatch.setattr(signal_handling, "_set_worker_pids", killed_before)
    listed = ListSampler(num_items=4, batch=2)
    loader = loaders.make_loader(Tones(), listed, workers=2, device="cpu", timeout_s=20)
    with (
        pytest.raises(CheckError, match="that loads training items was killed"),
        _one_sentence(2, 1.0),
    ):
        iter(loader)


def test_a_process_whose_end_python_has_dropped_is_noticed_in_seconds():
    listed = ListSampler(num_items=40, batch=2)
    loader = loaders.make_loader(Tones(), listed, workers=1, device="cpu", timeout_s=120)
    batches = iter(loader)
    known = signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # no word of it from PyTorch
    try:
        (process,) = batches._workers
        process.kill()
        begun = time.monotonic()
        with (
            pytest.raises(CheckError, match="that loads training items was killed"),
            _one_sentence(2, 1.0),
        ):
            list(batches)  # after those that were loaded before
        assert time.monotonic() - begun < 60
    finally:
        signal.signal(signal.SIGCHLD, known)


@pytest.mark.slow
def test_a_training_that_ends_while_it_fetches_a_batch_leaves_no_traceback_of_the_loader():
    """PyTorch hands batches over in a thread of the loading process."""
    code = (
        "import os, socket, sys, threading, time\n"
        "from multiprocessing.resource_sharer import _resource_sharer as sharer\n"
        "from avsep.training import loaders\n"
        "loaders._start(os.getppid(), 0)\n"
        "sharer.register(lambda *_: None, lambda: None)\n"
        "for sent in (b'', bytes(2)):\n"
        "    with socket.socket(socket.AF_UNIX) as gone:\n"
        "        gone.connect(sharer._address)\n"
        "        gone.sendall(sent)\n"
        "time.sleep(0.5)\n"
        "bug = threading.Thread(target=lambda: sys.excepthook(*_error()))\n"
        "def _error():\n"
        "    try: 1 / 0\n"
        "    except ZeroDivisionError: return sys.exc_info()\n"
        "bug.start(); bug.join()\n"
        "raise OSError('of the main thread')"
    )
    said = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert "resource_sharer" not in said.stderr
    assert [line for line in said.stderr.splitlines() if "Error: " in line] == [
        "ZeroDivisionError: division by zero", "OSError: of the main thread"
    ]  # fmt: skip
