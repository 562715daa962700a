"""One stage at a time in a project, and none that outlives its `dvc`."""

import contextlib
import errno
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from avsep.cli.app import app
from avsep.errors import CheckError, Reason
from avsep.outcome import Outcome
from avsep.progress import no_progress
from avsep.workspace import Workspace
from flows.engine import work_batch
from flows.processes import OF_DVC, started
from pipeline.execution import stage, training_run, turn
from pipeline.execution.ledger import Ledger
from pipeline.execution.markers import read_marker, retry, write_marker
from pipeline.execution.stage import Batch
from pipeline.execution.turn import own_turn
from pipeline.stages import STAGES
from tests.support.processes import LIMIT_S, all_end
from tests.support.stage_run import run_stage

ROOT = Path(__file__).parents[2]
HOLD = """
import sys
from pathlib import Path
from avsep.workspace import Workspace
from flows.processes import started
from pipeline.execution.turn import own_turn
with own_turn(Workspace(Path(sys.argv[1])), *sys.argv[2:]):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def _no_wait(monkeypatch):
    monkeypatch.setattr(turn, "WAIT_S", 0.0)


@contextlib.contextmanager
def held(root: Path, *words: str):
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(root), *words],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert process.stdout.readline() == "held\n"
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def test_a_second_stage_is_told_of_the_first(tmp_path):
    with held(tmp_path, "extract") as process:
        sentence = rf"at work in this project \(extract, process {process.pid}\); wait until"
        for words in (("extract",), ("clean",), ("train", "dolphin")):
            with (
                pytest.raises(CheckError, match=sentence),
                own_turn(Workspace(tmp_path), *words),
            ):
                pytest.fail("both work")


def test_a_stage_that_shares_the_project_is_named_and_an_earlier_one_is_not(tmp_path):
    with own_turn(Workspace(tmp_path), "extract"):
        pass
    with held(tmp_path, "train", "dolphin") as one, held(tmp_path, "train", "vovit") as other:
        names = f"train dolphin, process {one.pid}; train vovit, process {other.pid}"
        for words in (("report",), ("extract",)):
            with (
                pytest.raises(CheckError, match=rf"in this project \({names}\); wait"),
                own_turn(Workspace(tmp_path), *words),
            ):
                pytest.fail("all work")


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.ENOTSUP, errno.EACCES, errno.EIO])
def test_stages_and_trainings_answer_alike_to_what_a_disk_says_of_locks(
    tmp_path, monkeypatch, code
):
    def refuse(*_):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr("avsep.file_lock.fcntl.flock", refuse)
    monkeypatch.setattr(training_run, "LOCK_TIMEOUT_S", 0.0)
    wanted = {errno.EACCES: CheckError, errno.EIO: OSError}.get(code)
    for lock in (
        lambda: own_turn(Workspace(tmp_path), "mix"),
        lambda: training_run.locked(tmp_path / "toy.lock", "toy"),
    ):
        with pytest.raises(wanted) if wanted else contextlib.nullcontext(), lock():
            pass


@pytest.mark.parametrize(
    ("first", "second", "together"),
    [
        (("train", "dolphin"), ("train", "vovit"), True),
        (("train", "dolphin"), ("evaluate", "vovit"), True),
        (("train", "dolphin"), ("evaluate", "dolphin"), False),
        (("train", "dolphin"), ("train", "dolphin"), False),
        (("train", "dolphin"), ("report",), False),
        (("train", "vovit"), ("pretrain", "lipcoder"), True),
        (("pretrain", "lipcoder"), ("pretrain", "lipcoder"), False),
        (("pretrain", "lipcoder"), ("mix",), False),
    ],
)
def test_only_different_things_are_trained_together(tmp_path, first, second, together):
    with held(tmp_path, *first):
        try:
            with own_turn(Workspace(tmp_path), *second):
                assert together
        except CheckError:
            assert not together


def test_pretraining_goes_on_beside_a_training_and_not_beside_other_stages(tmp_path):
    pretrain = STAGES["pretrain"]
    for words, refusal in ((("train", "vovit"), "manifest.json is missing"), (("mix",), "at work")):
        with held(tmp_path, *words), pytest.raises(CheckError, match=refusal):
            stage.run_stage(pretrain, pretrain.config(), Workspace(tmp_path))


def test_the_turn_of_a_killed_stage_is_over_at_once(tmp_path):
    with held(tmp_path, "extract") as process:
        process.send_signal(signal.SIGKILL)
        process.wait()
        with own_turn(Workspace(tmp_path), "extract"):
            pass


def test_a_stage_waits_for_what_a_killed_run_has_left(tmp_path, monkeypatch):
    monkeypatch.setattr(turn, "WAIT_S", LIMIT_S)
    with held(tmp_path, "extract") as process:
        context = multiprocessing.get_context("spawn")
        killer = context.Process(target=os.kill, args=(process.pid, signal.SIGKILL))
        killer.start()
        with own_turn(Workspace(tmp_path), "extract"):
            assert process.wait(LIMIT_S) == -signal.SIGKILL
        killer.join()


def test_run_stage_takes_its_turn(tmp_path):
    (tmp_path / "params.yaml").write_text("report: {}\n")
    with held(tmp_path, "mix"), pytest.raises(CheckError, match="another stage is at work"):
        run_stage("report", Workspace(tmp_path))


@pytest.mark.parametrize("words", [("ledger", "retry", "mix"), ("run", "mix", "--retry-failed")])
def test_failures_stay_while_the_stage_that_has_them_is_at_work(tmp_path, words):
    """It reads its markers again when it publishes."""
    workspace = Workspace(tmp_path)
    (tmp_path / "params.yaml").write_text("{}")
    batch, failed = Batch(name="b", items=("x",)), [Outcome.ended("x", Reason.INTERNAL, "a bug")]
    write_marker(workspace, "mix", batch, failed)
    Ledger(workspace.ledger).record("mix", failed)
    with held(tmp_path, "mix"), pytest.raises(CheckError, match="another stage is at work"):
        app([*words, "--root", str(tmp_path)], standalone_mode=False)
    assert read_marker(workspace, "mix", batch) is not None
    assert retry("mix", workspace) == 1
    assert read_marker(workspace, "mix", batch) is None


@pytest.mark.slow
@pytest.mark.parametrize("while_loading", [False, True])
def test_what_runs_below_a_killed_dvc_is_asked_to_end(tmp_path, while_loading):
    """`dvc` starts a shell, which starts the stage; only `dvc` is killed."""
    loaded = tmp_path / "loaded"
    stage = (
        "import os, pathlib, sys, time\nfrom flows.processes import end_with_dvc\n"
        "print(os.getpid(), flush=True)\n"
        f"while {while_loading} and not pathlib.Path({str(loaded)!r}).exists(): time.sleep(0.05)\n"
        "end_with_dvc()\ntime.sleep(600)"
    )
    (tmp_path / "stage.py").write_text(stage)
    words = f"{sys.executable} {tmp_path / 'stage.py'}; true"
    fake = tmp_path / "dvc"
    fake.write_text(
        "import os, subprocess\n"
        f"environment = os.environ | {{{OF_DVC!r}: 'extract'}}\n"
        f"subprocess.run([{words!r}], shell=True, env=environment)\n"
    )
    dvc = subprocess.Popen(
        [sys.executable, str(fake), "repro"], stdout=subprocess.PIPE, text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)}, start_new_session=True,
    )  # fmt: skip
    try:
        pid = int(dvc.stdout.readline())
        time.sleep(1)
        assert started(pid)
        dvc.kill()
        dvc.wait()
        loaded.touch()
        assert all_end([pid])
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(dvc.pid, signal.SIGKILL)
        dvc.stdout.close()


@pytest.mark.parametrize("leads", [True, False])
def test_a_program_that_uses_dvc_as_a_library_may_have_any_name(leads):
    """It may lead its session, or have been left by its leader, as by a terminal that has gone."""
    below = "from flows.processes import end_with_dvc; end_with_dvc(); print('goes on')"
    code = f"""
import os, subprocess, sys, time
if {not leads} and (leader := os.getpid()) and os.fork():
    os._exit(0)
while {not leads} and os.getppid() == leader:
    time.sleep(0.01)
environment = os.environ | {{{OF_DVC!r}: "extract"}}
subprocess.run([sys.executable, "-c", {below!r}], env=environment, check=True)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], start_new_session=True, check=True, capture_output=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)}, timeout=120,
    )  # fmt: skip
    assert (done.stdout, done.stderr) == (b"goes on\n", b"")


def test_threads_of_a_process_do_one_batch_at_a_time():
    at_work, most = [0], [0]

    def work(_progress) -> list[Outcome]:
        at_work[0] += 1
        most[0] = max(most[0], at_work[0])
        time.sleep(0.02)
        at_work[0] -= 1
        return [Outcome.done("one")]

    with ThreadPoolExecutor(4) as threads:
        batches = [threads.submit(work_batch.fn, "mix", "b", work, no_progress) for _ in range(8)]
        assert [batch.result()[0].item for batch in batches] == ["one"] * 8
    assert most == [1]
