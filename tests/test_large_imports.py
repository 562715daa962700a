"""Large libraries are imported without the garbage collector, which works afterwards."""

import gc
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from avsep.large_imports import large_imports
from avsep.processes import map_items

WALKS = """
import gc
walks = []
gc.callbacks.append(lambda phase, info: walks.append(phase))
from avsep.large_imports import large_imports
del walks[:]
with large_imports():
    import torch
print(len(walks), gc.isenabled(), gc.get_freeze_count())
"""


@pytest.mark.slow
def test_an_import_is_not_walked_through_then_or_later():
    words = [sys.executable, "-c", WALKS]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    walks, enabled, frozen = done.stdout.split()
    assert (walks, enabled) == ("0", "True")
    assert int(frozen) > 100_000


@pytest.mark.slow
@pytest.mark.parametrize("command", ["separate talk.mp4", "web"])
def test_a_command_imports_pytorch_so(tmp_path, command):
    """It ends when it finds no weights."""
    (tmp_path / "talk.mp4").write_bytes(b"a video")
    code = (
        "import gc, sys; from typer.testing import CliRunner; from avsep.cli.app import app;"
        "print(CliRunner().invoke(app, sys.argv[1:]).exception);"
        "print('torch' in sys.modules, gc.get_freeze_count())"
    )
    words = [sys.executable, "-c", code, *command.split()]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    environment["AVSEP_WEIGHTS"] = str(tmp_path)
    done = subprocess.run(
        words, capture_output=True, text=True, check=True, cwd=tmp_path, env=environment
    )
    said, (loaded, frozen) = done.stdout.splitlines()[0], done.stdout.split()[-2:]
    assert loaded == "True", said
    assert int(frozen) > 100_000, said


def test_the_collector_is_left_as_it_was():
    frozen = gc.get_freeze_count()
    for wanted in (True, False):
        (gc.enable if wanted else gc.disable)()
        try:
            with pytest.raises(ImportError), large_imports():
                assert not gc.isenabled()
                import avsep.nowhere  # noqa: F401
            assert gc.isenabled() is wanted
        finally:
            gc.enable()
    assert gc.get_freeze_count() <= frozen, "nothing was imported"


def test_of_two_threads_one_waits_for_the_other():
    first_is_in, second_is_in, first_is_out = (threading.Event() for _ in range(3))
    seen = []

    def first():
        with large_imports():
            first_is_in.set()
            second_is_in.wait(0.3)
        first_is_out.set()

    def second():
        first_is_in.wait(60)
        with large_imports():
            second_is_in.set()
            first_is_out.wait(60)
            seen.append(gc.isenabled())

    threads = [threading.Thread(target=work) for work in (first, second)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert seen == [False], "the first has turned it on for the second"
    assert gc.isenabled()


def of_collector(_: int) -> tuple[bool, int]:
    return gc.isenabled(), gc.get_freeze_count()


def test_workers_collect_what_they_make_and_nothing_that_was_there():
    ((_, (enabled, frozen)),) = map_items(of_collector, [0], workers=1, timeout_s=120)
    assert enabled
    assert frozen > 10_000
