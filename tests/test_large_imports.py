"""Large libraries are imported without the garbage collector, which works afterwards."""

import gc
import os
import subprocess
import sys
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
    import {module}
print(len(walks), gc.isenabled(), gc.get_freeze_count())
"""


@pytest.mark.slow
def test_an_import_is_not_walked_through_then_or_later():
    code = WALKS.format(module="torch")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    walks, enabled, frozen = done.stdout.split()
    assert (walks, enabled) == ("0", "True")
    assert int(frozen) > 100_000


COMMANDS = {
    "separate": ["separate", "talk.mp4"],
    "web": ["web"],
}


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_imports_pytorch_so(tmp_path, command):
    (tmp_path / "talk.mp4").write_bytes(b"a video")
    code = (
        "import gc, sys; from typer.testing import CliRunner; from avsep.cli.app import app;"
        "print(CliRunner().invoke(app, sys.argv[1:]).exception);"
        "print('torch' in sys.modules, gc.get_freeze_count())"
    )
    words = [sys.executable, "-c", code, *COMMANDS[command]]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    environment["HOME"] = environment["XDG_DATA_HOME"] = str(tmp_path)
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


def of_collector(_: int) -> tuple[bool, int]:
    return gc.isenabled(), gc.get_freeze_count()


def test_workers_collect_what_they_make_and_nothing_that_was_there():
    ((_, (enabled, frozen)),) = map_items(of_collector, [0], workers=1, timeout_s=120)
    assert enabled
    assert frozen > 10_000
