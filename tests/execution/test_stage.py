import errno
import multiprocessing.forkserver
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path
from subprocess import CompletedProcess
from types import SimpleNamespace

import numpy
import pytest

from avsep import processes
from avsep.errors import CheckError, ItemError, Reason
from avsep.files import temporary_sibling
from avsep.outcome import Counts, Outcome
from avsep.processes import close_pools, map_items
from avsep.workspace import Workspace
from pipeline.execution.stage import Batch, Stage, StageReport, run_stage
from pipeline.execution.turn import own_turn
from tests.support.processes import LIMIT_S, all_end

TOO_LONG_S = 600


def _work(item: str) -> str:
    if item.startswith("die"):
        os.kill(os.getpid(), signal.SIGKILL)
    if item.startswith("server dies"):
        os.kill(os.getppid(), signal.SIGKILL)
        time.sleep(TOO_LONG_S)
    if item.startswith("$"):
        return os.environ.get(item[1:], "")
    if item.startswith("threads"):
        before = _threads()
        numpy.ones((800, 800)) @ numpy.ones((800, 800))
        return str(_threads() - before)
    if item.startswith("sleep"):
        time.sleep(TOO_LONG_S)
    if item.startswith("drop"):
        raise ItemError(Reason.SILENT, "quiet")
    if item.startswith("full"):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "x.tar")
    if item.startswith("bug"):
        raise ZeroDivisionError("a bug")
    return item.upper()


def _threads() -> int:
    return len(list(Path("/proc/self/task").iterdir()))


@pytest.fixture(autouse=True)
def _no_pools_left():
    close_pools()
    yield
    close_pools()


def _reasons(items, **settings):
    results = dict(map_items(_work, items, **settings))
    assert set(results) == set(items), "every item ends exactly once"
    return {
        item: result.reason if isinstance(result, ItemError) else result
        for item, result in results.items()
    }


@pytest.mark.slow
def test_one_bad_item_harms_no_other():
    items = ["a", "die1", "b", "drop", "c", "bug", "die2", "server dies", "d"]
    assert _reasons(items, workers=2, timeout_s=60) == {
        "a": "A",
        "b": "B",
        "c": "C",
        "d": "D",
        "die1": Reason.WORKER_DIED,
        "die2": Reason.WORKER_DIED,
        "server dies": Reason.WORKER_DIED,
        "drop": Reason.SILENT,
        "bug": Reason.INTERNAL,
    }


@pytest.mark.slow
def test_an_item_that_hangs_is_given_up_and_the_rest_goes_on():
    _reasons(["a"], workers=2, timeout_s=60)  # so that the workers' server runs
    # The limit must leave a worker time to start.
    results = _reasons(["a", "sleep", "b"], workers=2, timeout_s=4)
    assert results == {"a": "A", "b": "B", "sleep": Reason.TIMED_OUT}


@pytest.mark.slow
def test_a_server_that_is_not_yet_known_to_be_dead_is_started_again(monkeypatch):
    assert _reasons(["a"], workers=1, timeout_s=60) == {"a": "A"}
    close_pools()
    server = multiprocessing.forkserver._forkserver
    os.kill(server._forkserver_pid, signal.SIGKILL)
    os.waitid(os.P_PID, server._forkserver_pid, os.WEXITED | os.WNOWAIT)
    look, looked = server.ensure_running, []

    def look_from_the_third_time_on() -> None:
        looked.append(True)
        if len(looked) > 2:  # when the pool is made, and when its first worker starts
            look()

    for place in (server, multiprocessing.forkserver):
        monkeypatch.setattr(place, "ensure_running", look_from_the_third_time_on)
    assert _reasons(["b"], workers=1, timeout_s=60) == {"b": "B"}
    assert len(looked) > 2


def test_without_workers_everything_runs_here():
    assert _reasons(["a", "drop", "bug"], workers=0, timeout_s=1) == {
        "a": "A",
        "drop": Reason.SILENT,
        "bug": Reason.INTERNAL,
    }


def test_a_bug_has_a_traceback_and_a_full_disk_has_none(caplog):
    assert _reasons(["full"], workers=0, timeout_s=1) == {"full": Reason.OUT_OF_SPACE}
    assert not caplog.records
    _reasons(["bug"], workers=0, timeout_s=1)
    assert [record.exc_info[0] for record in caplog.records] == [ZeroDivisionError]


@pytest.mark.slow
def test_a_worker_has_the_environment_of_now_and_one_thread(monkeypatch):
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    for now in ("first", "second"):
        monkeypatch.setenv("AVSEP_TEST_NOW", now)
        given = _reasons(["$AVSEP_TEST_NOW", "$OMP_NUM_THREADS"], workers=1, timeout_s=60)
        assert given == {"$AVSEP_TEST_NOW": now, "$OMP_NUM_THREADS": "1"}
        close_pools()


@pytest.mark.slow
def test_who_interrupts_does_not_wait_for_an_item_that_hangs():
    code = (
        "import os, signal, sys, threading\n"
        "import tests.execution.test_stage as t\n"
        "from avsep.processes import map_items\n"
        "list(map_items(t._work, ['a'], workers=1, timeout_s=60))\n"
        "threading.Timer(1, os.kill, (os.getpid(), signal.SIGINT)).start()\n"
        "try:\n"
        "    list(map_items(t._work, ['sleep'], workers=1, timeout_s=600))\n"
        "except KeyboardInterrupt:\n"
        "    print('interrupted')\n"
    )
    begun = time.monotonic()
    assert _said_by(code).stdout.strip() == "interrupted"
    assert time.monotonic() - begun < TOO_LONG_S


@pytest.mark.slow
def test_numpy_has_one_thread_in_a_worker_though_the_server_has_imported_it():
    code = (
        "import tests.execution.test_stage as t\n"
        "from avsep.processes import map_items\n"
        "[(_, threads)] = map_items(t._work, ['threads'], workers=1, timeout_s=60)\n"
        "print(threads)"
    )
    few = {k: v for k, v in os.environ.items() if not k.endswith("_NUM_THREADS")}
    assert _said_by(code, few).stdout.strip() == "0"


def _said_by(
    code: str, environment: Mapping[str, str] = os.environ, *, check: bool = True
) -> CompletedProcess[str]:
    """Run code in a process that leads a group of its own, as a terminal starts a command."""
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**environment, "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        check=check,
        start_new_session=True,
        timeout=240,
    )


@pytest.mark.slow
def test_a_worker_that_nobody_waits_for_any_more_starts_in_silence():
    """As when Ctrl-C ends its parent while it starts."""
    code = (
        "import _multiprocessing, os, sys\n"
        "import tests.execution.test_stage as t\n"
        "from avsep.processes import _workers_from\n"
        "workers = _workers_from(t._work)\n"
        "lock = workers.Lock()\n"
        "_multiprocessing.sem_unlink(lock._semlock.name)\n"
        "for given in (lock, t._Unreadable()):\n"
        "    worker = workers.Process(target=print, args=(given,))\n"
        "    worker.start()\n"
        "    worker.join()\n"
        "    print(worker.exitcode, flush=True)\n"
        "os._exit(0)"
    )
    said = _said_by(code)
    assert said.stdout.split() == ["1", "1"]
    assert said.stderr.count("Traceback") == 1, said.stderr
    assert "ZeroDivisionError: a bug" in said.stderr


@pytest.mark.slow
@pytest.mark.parametrize("folder", ["/tmp", "/" + "long/" * 20])
@pytest.mark.parametrize("end", ["os._exit(3)", "os.kill(os.getpid(), signal.SIGKILL)"])
def test_a_process_that_ends_at_once_is_followed_by_no_warning(folder, end):
    """Python warns of the semaphores that it then removes, after all else that was said."""
    code = (
        "import os, signal, tempfile\n"
        "import tests.execution.test_stage as t\n"
        "from avsep.processes import in_child, map_items\n"
        f"tempfile.tempdir = {folder!r}\n"
        "assert in_child(os.getpid, timeout_s=60) != os.getpid()\n"
        "for _ in map_items(t._work, ['one', 'two'], workers=2, timeout_s=60):\n"
        "    assert os.environ['PYTHONWARNINGS'] == 'error::FutureWarning'\n"
        f"    {end}"
    )
    said = _said_by(code, {**os.environ, "PYTHONWARNINGS": "error::FutureWarning"}, check=False)
    assert said.returncode in (3, -signal.SIGKILL)
    assert said.stderr == ""


def test_threads_that_start_workers_at_once_leave_the_environment_as_it_was(monkeypatch):
    monkeypatch.setenv("PYTHONWARNINGS", "error::FutureWarning")
    tracker = processes.multiprocessing.resource_tracker
    monkeypatch.setattr(tracker, "ensure_running", lambda: time.sleep(0.001))
    with ThreadPoolExecutor(4) as threads:
        for started in [threads.submit(processes._start_tracker) for _ in range(40)]:
            started.result()
    assert os.environ["PYTHONWARNINGS"] == "error::FutureWarning"


class _Unreadable:
    """What a worker cannot read when it starts."""

    def __reduce__(self):
        return (_work, ("bug",))


@pytest.mark.slow
def test_ctrl_c_while_the_server_of_the_workers_starts_is_for_the_parent_alone():
    code = (
        "import os, signal, threading, time\n"
        "import tests.execution.test_stage as t\n"
        "from avsep.processes import map_items\n"
        "signal.signal(signal.SIGINT, lambda *_: None)\n"
        "def work():\n"
        "    print(dict(map_items(t._work, ['works'], workers=1, timeout_s=60)))\n"
        "working = threading.Thread(target=work)\n"
        "working.start()\n"
        "while working.is_alive():\n"
        "    os.killpg(0, signal.SIGINT)\n"
        "    time.sleep(0.01)"
    )
    said = _said_by(code)
    assert (said.stdout, said.stderr) == ("{'works': 'WORKS'}\n", "")


@pytest.mark.slow
def test_without_a_place_for_sockets_workers_start_too(monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", "/tmp/" + "x" * 120)
    assert _reasons(["a"], workers=1, timeout_s=60) == {"a": "A"}


def _use_a_pool() -> None:
    assert dict(map_items(_work, ["a"], workers=1, timeout_s=60)) == {"a": "A"}


@pytest.mark.slow
def test_a_process_that_others_have_started_ends_though_it_has_workers():
    """As a worker of Dask does, which may start processes."""
    process = multiprocessing.get_context("spawn").Process(target=_use_a_pool)
    process.start()
    process.join(LIMIT_S / 4)
    process.kill()
    process.join()
    assert process.exitcode == 0


def _say_why() -> None:
    with pytest.raises(CheckError, match="DASK_DISTRIBUTED__WORKER__DAEMON=False"):
        _use_a_pool()
    sys.exit(3)


@pytest.mark.slow
def test_a_process_that_may_start_no_others_says_what_to_do():
    process = multiprocessing.get_context("spawn").Process(target=_say_why, daemon=True)
    process.start()
    process.join(LIMIT_S)
    assert process.exitcode == 3


@pytest.mark.slow
def test_workers_do_not_outlive_a_killed_parent(tmp_path: Path):
    marker = tmp_path / "pid"
    code = (
        "import sys, tests.execution.test_stage as t\n"
        "from avsep.processes import map_items\n"
        "list(map_items(t._note_pid_and_sleep, [sys.argv[1]], workers=1, timeout_s=600))"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", code, str(marker)],
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
    )
    deadline = time.monotonic() + LIMIT_S
    while not marker.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    worker = int(marker.read_text())
    parent.kill()
    parent.wait()
    assert all_end([worker])


def _note_pid_and_sleep(path: str) -> None:
    temporary = Path(path + ".tmp")
    temporary.write_text(str(os.getpid()))
    temporary.rename(path)
    time.sleep(TOO_LONG_S)


def _stage(name: str, ended: list[Outcome], **kind: bool) -> Stage:
    """A stage of one batch, whose items end so."""
    batch = Batch(name="all", items=tuple(outcome.item for outcome in ended))
    return Stage(
        name,
        SimpleNamespace,
        plan=lambda config, workspace: [batch],
        work=lambda config, workspace, batch, progress: ended,
        finish=lambda config, workspace, batches, outcomes: StageReport(
            stage=name, counts=Counts.of(outcomes)
        ),
        **kind,
    )


@pytest.mark.parametrize(
    ("name", "kind", "other"),
    [
        ("clean", {}, ""),
        ("evaluate", {"per_model": True}, ""),
        ("evaluate", {"per_model": True}, "vovit"),
        ("train", {"per_model": True, "resumes": True}, ""),
        ("train", {"per_model": True, "resumes": True}, "vovit"),
    ],
)
def test_temporary_files_of_killed_runs_go_where_nobody_else_can_be_writing_them(
    tmp_path: Path, monkeypatch, name: str, kind: dict[str, bool], other: str
):
    monkeypatch.setenv("AVSEP_IGNORE_DISK", "1")
    workspace = Workspace(tmp_path)
    targets = [
        workspace.data / "raw.parquet",
        workspace.work(name) / "00000.done.json",
        workspace.work(name) / "dolphin" / "last.ckpt",
        workspace.work("extract") / "train-000000.tar",
    ]
    left = [temporary_sibling(path) for path in targets]
    for path in (*left, *targets):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    stage, config = _stage(name, [Outcome.done("a")], **kind), SimpleNamespace(model="dolphin")
    with own_turn(workspace, "train", other) if other else nullcontext():
        run_stage(stage, config, workspace)
    gone = [] if other else left[:2] if name == "train" else left[:3]
    assert [path for path in left if not path.exists()] == gone
    assert all(path.exists() for path in targets)


def test_a_stage_fails_only_above_the_set_share(tmp_path: Path):
    ended = [
        *(Outcome.done(f"{i}") for i in range(9)),
        Outcome.ended("9", Reason.TIMED_OUT, "slow"),
    ]
    stage = _stage("clean", ended)
    workspace = Workspace(tmp_path)
    report = run_stage(stage, SimpleNamespace(max_failed_share=0.1), workspace)
    assert (report.counts.done, report.counts.failed.total()) == (9, 1)
    with pytest.raises(CheckError, match="1 of 10 items failed"):
        run_stage(stage, SimpleNamespace(max_failed_share=0.05), workspace)


def test_items_that_the_disk_has_failed_need_no_word_but_its_name(tmp_path: Path):
    fault = "data/x.tar: the disk fails; look at the log of the system"
    ended = [Outcome.done("0"), Outcome.ended("1", Reason.DISK_FAILED, fault)]
    with pytest.raises(
        CheckError, match=f"1 of 2 items failed: {fault}; the same command"
    ) as raised:
        run_stage(
            _stage("clean", ended), SimpleNamespace(max_failed_share=0.1), Workspace(tmp_path)
        )
    assert "--retry-failed" not in str(raised.value)
