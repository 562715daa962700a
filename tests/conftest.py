"""What all tests share: threads, signals, the network, the temporary folder, order."""

import gc
import os
import signal
import tempfile
from collections.abc import Iterator

import pytest

from tests.support.guards import only_loopback

# Collection imports thousands of modules, whose objects stay to the end: the garbage collector
# would walk through them again and again. What comes after collection is collected as usual.
gc.disable()

# Each worker of pytest-xdist gets its share of the cores, before PyTorch is imported: with all
# cores for every worker, threads wait for each other and tests take several times as long.
if workers := int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "0")):
    cores = len(os.sched_getaffinity(0))
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, cores // workers)))


# A shell makes the jobs that it starts in the background ignore Ctrl-C, `nohup` makes its command
# ignore a closed terminal, and children inherit both: the processes that tests interrupt would not
# notice.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGHUP) == signal.SIG_IGN:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)

# The path of a socket has 107 bytes: with a longer folder, such as those of Slurm jobs, Chromium
# and the bare PyTorch loaders of tests do not start. Ours do; tests/stages proves it.
if len(tempfile.gettempdir()) > 40:
    os.environ["TMPDIR"] = tempfile.tempdir = "/tmp"


@pytest.fixture(autouse=True)
def _ctrl_c_stays() -> Iterator[None]:
    """The command leaves it as a process that ends needs it."""
    before = signal.getsignal(signal.SIGINT)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(autouse=True)
def _only_loopback() -> Iterator[None]:
    with only_loopback():
        yield


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Start the files with slow tests first, so that no worker is left with one at the end."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


def pytest_collection_finish() -> None:
    gc.freeze()
    gc.enable()


def pytest_unconfigure() -> None:
    gc.unfreeze()  # at their end, libraries count what is left
