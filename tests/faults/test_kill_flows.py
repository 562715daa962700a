"""Flows whose server, scheduler or worker goes, and two `dvc repro` at once.

Run by `make test-faults`. One worker of Dask that is killed: `tests/flows/test_dask_engine.py`.
"""

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

from flows.loopback import is_healthy
from tests.support.prefect_api import free_port
from tests.support.strikes import run_to_its_end, started
from tests.support.tiny_project import command, environment


def test_a_second_dvc_repro_says_who_works_and_harms_nothing(unbroken, server, tmp_path):
    root = unbroken.copy_before("extract", tmp_path / "project")
    unbroken.result("extract")
    with started(command("extract", root, "dvc"), root, **server) as first:
        first.wait_for_work()
        with started(command("extract", root, "dvc"), root, **server) as second:
            said = second.end()
            assert second.process.returncode not in (0, None)
            assert str(first.process.pid) in said, said
            assert "Traceback" not in said
        assert not first.is_over(), "it had ended too early to mean anything"
        assert first.end().count("extract: 7 done") == 1
        assert first.process.returncode == 0
    unbroken.assert_same(root, "extract")


def test_a_flow_whose_own_server_is_killed_ends_in_words_and_goes_on(unbroken, tmp_path):
    """With `dvc`, as a user runs it: the short-lived server starts, goes, and starts anew."""
    root = unbroken.copy_before("extract", tmp_path / "project")
    unbroken.result("extract")
    with started(command("extract", root, "dvc"), root) as running:
        running.wait_for_work()
        assert running.strike("server", random.Random(0))
        said = running.end()
        assert not running.left()
        assert "Traceback" not in said, said
        assert running.process.returncode == 0 or "\navsep: " in said, said
    run_to_its_end(command("extract", root, "dvc"), root)
    unbroken.assert_same(root, "extract")


def test_a_flow_whose_dask_scheduler_is_restarted_goes_on(unbroken, server, tmp_path):
    root = unbroken.copy_before("extract", tmp_path / "project")
    unbroken.result("extract")
    port = free_port()
    address = f"tcp://127.0.0.1:{port}"
    words = ["scheduler", "--host", "127.0.0.1", "--port", str(port), "--no-dashboard"]
    far = server | {"AVSEP_ENGINE": "dask", "AVSEP_DASK_SCHEDULER": address}
    with contextlib.ExitStack() as all_of_them:

        def start(*words):
            process = subprocess.Popen(
                [str(Path(sys.executable).parent / "dask"), *words],
                env=environment(DASK_DISTRIBUTED__WORKER__DAEMON="False"),
                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
            )  # fmt: skip
            all_of_them.callback(end, process)
            return process

        worker = ("worker", address, "--nthreads", "1", "--no-dashboard", "--local-directory")
        scheduler = start(*words)
        first = start(*worker, tmp_path)
        with started(command("extract", root, "flow"), root, **far) as running:
            running.wait_for_work()
            done = root / "data" / ".work" / "extract"
            while not running.is_over() and not list(done.glob("*.done.json")):
                time.sleep(0.05)
            end(scheduler)
            scheduler = start(*words)
            said = running.end()
            assert not running.left()
            assert "Traceback" not in said, said
            assert running.process.returncode == 0 or "\navsep: " in f"\n{said}", said
        assert first.wait(120) is not None, "a worker ends with its scheduler"
        start(*worker, tmp_path)
        run_to_its_end(command("extract", root, "flow"), root, **far)
    unbroken.assert_same(root, "extract")


def end(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def test_the_server_of_these_tests_answers(server):
    """Else flows would be refused before they are struck."""
    assert is_healthy(server["PREFECT_API_URL"])
