"""The engine dask: a scheduler and workers as processes, killed ones, GPUs; the bytes of local.

They talk by TLS, with the settings that docs/scale.md gives for more than one machine.
"""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from distributed import Client, LocalCluster
from distributed.security import Security
from prefect_dask import DaskTaskRunner

from avsep.errors import CheckError, UsageError
from avsep.extraction.provenance import backend_facts
from avsep.files import sha256_file
from avsep.schema import Clip
from avsep.shards.verify import verify_set
from avsep.tables import write_rows
from avsep.workspace import Workspace
from flows import gpus, runners
from pipeline.execution.ledger import Ledger
from pipeline.stages import STAGES
from pipeline.stages.extract import ExtractConfig
from tests.support.prefect_api import prefect_server
from tests.support.stage_run import run_stage

ROOT = Path(__file__).parents[2]
STAND_IN = ROOT / "tests" / "support" / "stand_in_gpus"
LIMIT_S = 1800.0
FRAMES = 40
PARAMS = "extract: {workers: 0, clips_per_shard: 1}\n"
OPTIONS = "{engine: torch, device: DEVICE, precision: float, batch: 4}"
ON_TORCH = f"extract: {{workers: 1, clips_per_shard: 1, backend_options: {OPTIONS}}}\n"
# What a client without the right certificate is told, sooner or later.
REFUSED = "Timed out|reset by peer|closed|does not match"


@pytest.fixture(scope="module")
def clips(tmp_path_factory) -> tuple[Path, list[Clip]]:
    """Eight short clips of one drawn head, each another part of it."""
    from avsep.corpora.demo.corpus import DemoClip, talk
    from avsep.media.encode import write_mp4

    folder = tmp_path_factory.mktemp("raw")
    drawn = talk(DemoClip(speaker=0, number=0), seed=1, num_frames=FRAMES)
    frames, sound = np.stack([picture for picture, _ in drawn.frames]), drawn.audio
    rows = []
    for number in range(8):
        path = folder / f"{number}.mp4"
        length = FRAMES - number
        write_mp4(path, frames[:length], sound[: 640 * length])
        rows.append(
            Clip(
                clip_id=f"test-{number}", corpus="test", speaker=f"s{number}", group=f"s{number}",
                gender="", split="train", path=path.name, sha256=sha256_file(path),
                size_bytes=path.stat().st_size, kept=True, end_s=length / 25, width=224,
                height=224, fps=25.0, audio_rate_hz=16000, channels=1,
            )
        )  # fmt: skip
    return folder, rows


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> Iterator[dict[str, str]]:
    """A Prefect server for some flows, as the user's own one."""
    with prefect_server(tmp_path_factory.mktemp("prefect")) as access:
        yield access


def project(root: Path, clips: tuple[Path, list[Clip]], params: str = PARAMS) -> Workspace:
    workspace = Workspace(root)
    root.mkdir()
    (root / "params.yaml").write_text(params)
    workspace.data.mkdir()
    workspace.raw.symlink_to(clips[0])
    write_rows(workspace.clips / "clips.parquet", clips[1])
    return workspace


def hashes(workspace: Workspace) -> dict[str, str]:
    return {path.name: sha256_file(path) for path in sorted(workspace.shards.iterdir())}


def certificates(folder: Path) -> dict[str, str]:
    """A certificate for all, and the variables of docs/scale.md that name it."""
    made = Security.temporary()
    (folder / "dask.pem").write_text(made.tls_ca_file)
    (folder / "dask.key").write_text(made.tls_client_key)
    text = (ROOT / "docs" / "scale.md").read_text("utf-8")
    named = dict(re.findall(r"^export (DASK_\w+)=(\S+)", text, re.MULTILINE))
    return {name: value.replace("$HOME/.dask", str(folder)) for name, value in named.items()}


def start(*words: str, **more: str) -> subprocess.Popen[bytes]:
    environment = (
        os.environ
        | {
            "PYTHONPATH": str(ROOT),
            "OMP_NUM_THREADS": "1",
            "DASK_DISTRIBUTED__WORKER__DAEMON": "False",
        }
        | more
    )
    return subprocess.Popen(
        [str(Path(sys.executable).parent / "dask"), *words],
        env=environment, start_new_session=True, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip


def end(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


@contextlib.contextmanager
def scheduler(folder: Path, tls: dict[str, str]) -> Iterator[tuple[str, Path]]:
    """A scheduler; yields its address, and the file that tells workers of it."""
    file = folder / "scheduler.json"
    process = start(
        *("scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard"),
        *("--scheduler-file", str(file)),
        **tls,
    )
    try:
        deadline = time.monotonic() + LIMIT_S
        while not file.exists() and time.monotonic() < deadline:
            assert process.poll() is None
            time.sleep(0.2)
        yield json.loads(file.read_text())["address"], file
    finally:
        end(process)


@contextlib.contextmanager
def worker(file: Path, name: str, *words: str, **more: str) -> Iterator[subprocess.Popen[bytes]]:
    process = start(
        *("worker", "--scheduler-file", str(file), "--nthreads", "1", "--no-dashboard"),
        *("--name", name, "--local-directory", str(file.parent), *words),
        **more,
    )
    try:
        yield process
    finally:
        end(process)


def start_flow(workspace: Workspace, **more: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "flows.stages", "extract", "--root", str(workspace.root)],
        cwd=ROOT, env=os.environ | {"AVSEP_ENGINE": "dask"} | more,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


@pytest.mark.slow
def test_a_worker_that_dies_costs_nothing_and_changes_nothing(tmp_path, clips):
    local = project(tmp_path / "local", clips)
    run_stage("extract", local)
    far = project(tmp_path / "far", clips)
    tls = certificates(tmp_path)
    with (
        scheduler(tmp_path, tls) as (address, file),
        worker(file, "one", **tls) as one,
        worker(file, "two", "--nthreads", "3", **tls),
    ):
        with pytest.raises(OSError, match=REFUSED):  # it takes nobody without a certificate
            Client(address.replace("tls://", "tcp://"), timeout="2s")
        flow = start_flow(far, AVSEP_DASK_SCHEDULER=address, **tls)
        done = far.work("extract")
        deadline = time.monotonic() + LIMIT_S
        while not list(done.glob("*.done.json")) and time.monotonic() < deadline:
            assert flow.poll() is None, flow.communicate()[0]
            time.sleep(0.05)
        end(one)  # not asked to stop, with its nanny
        finished_before = {path: path.stat().st_mtime_ns for path in done.glob("*.done.json")}
        assert len(finished_before) < 8, "killed too late to mean anything"
        output = flow.communicate(timeout=LIMIT_S)[0]
        failures = [
            (o.item, o.message) for o in Ledger(far.ledger).each_outcome("extract", done=False)
        ]
        assert flow.returncode == 0, (output, failures)
    assert "extract: 8 done" in output
    assert hashes(far) == hashes(local)
    assert verify_set(far.shards, deep=True) == []
    counts = Ledger(far.ledger).counts("extract")
    assert (counts.done, counts.total) == (8, 8)
    now = {path: path.stat().st_mtime_ns for path in done.glob("*.done.json")}
    assert finished_before.items() <= now.items(), "what was finished was not done again"


@pytest.mark.slow
def test_batches_that_need_a_gpu_go_to_workers_that_own_one(tmp_path, clips, server):
    few = clips[0], clips[1][:4]
    local = project(tmp_path / "local", few, ON_TORCH.replace("DEVICE", "cpu"))
    run_stage("extract", local)
    far = project(tmp_path / "far", few, ON_TORCH.replace("DEVICE", "cuda"))
    engines = tmp_path / "engines"

    def acting(name: str, visible: str) -> dict[str, str]:
        return {
            "PYTHONPATH": f"{STAND_IN}{os.pathsep}{ROOT}",
            "AVSEP_TEST_ENGINES": str(engines),
            "AVSEP_TEST_WORKER": name,
            "CUDA_VISIBLE_DEVICES": visible,
        }

    with scheduler(tmp_path, {}) as (address, file), contextlib.ExitStack() as workers:
        workers.enter_context(worker(file, "none", **acting("none", "")))
        # As with dask-cuda, each worker sees all of them, its own first.
        for name, visible in (("one", "0,1"), ("two", "1,0")):
            words = ("--resources", "GPU=1")
            workers.enter_context(worker(file, name, *words, **acting(name, visible)))
        with Client(address, set_as_default=False) as client:
            client.wait_for_workers(3, timeout=LIMIT_S)
        flow = start_flow(far, AVSEP_DASK_SCHEDULER=address, **server)
        output = flow.communicate(timeout=LIMIT_S)[0]
    assert "extract: 4 done" in output
    assert hashes(far) == hashes(local)
    assert sorted(engines.read_text().splitlines()) == ["one on 0", "two on 1"]


@pytest.mark.slow
def test_a_flow_for_which_no_worker_has_a_gpu_says_what_to_do(tmp_path, clips, server):
    workspace = project(tmp_path / "far", clips, ON_TORCH.replace("DEVICE", "cuda"))
    flow = start_flow(workspace, CUDA_VISIBLE_DEVICES="", **server)
    output = flow.communicate(timeout=LIMIT_S)[0]
    assert flow.returncode == CheckError.exit_code, output
    assert "avsep: no worker of Dask has a GPU; start one with `--resources GPU=1`" in output
    assert "Traceback" not in output


@pytest.mark.slow
def test_workers_that_a_flow_starts_get_a_gpu_each_as_far_as_they_go(monkeypatch):
    monkeypatch.setenv("AVSEP_ENGINE", "dask")
    monkeypatch.setenv("AVSEP_DASK_WORKERS", "3")
    monkeypatch.delenv("AVSEP_DASK_SCHEDULER", raising=False)
    monkeypatch.setattr(gpus, "visible_gpus", lambda: ["4", "7"])

    def own(dask_worker):
        resources = dask_worker.state.total_resources
        return dask_worker.name, os.environ["CUDA_VISIBLE_DEVICES"], resources["GPU"]

    with runners.task_runner() as runner:
        gpus.wait_for_gpu(runner)
        expected = [(0, "4", 1), (1, "7", 1), (2, "", 0)]
        owned = runner.client.run(own)
        assert sorted(owned.values()) == expected
        second = next(address for address, (number, *_) in owned.items() if number == 1)
        runner.client.restart_workers([second])
        assert sorted(runner.client.run(own).values()) == expected


def test_a_flow_waits_for_a_gpu_only_so_long_and_lets_nobody_share_one(monkeypatch):
    monkeypatch.setattr(gpus, "WAIT_S", 0.1)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,4")
    for owned, wrong in (
        ({}, "no worker of Dask has a GPU"),
        ({"GPU": 1}, r"2 workers of Dask on .* own the same GPU \(3\)"),
    ):
        with (
            LocalCluster(
                n_workers=2,
                processes=False,
                host="127.0.0.1",
                protocol="tcp",
                dashboard_address=None,
                resources=owned,
            ) as cluster,
            DaskTaskRunner(address=cluster.scheduler_address) as runner,
            pytest.raises(CheckError, match=wrong),
        ):
            gpus.wait_for_gpu(runner)


@pytest.mark.parametrize(
    ("backend", "options", "device"),
    [
        ("mediapipe", {}, None),
        ("mediapipe", {"engine": "torch", "device": "cpu"}, None),
        ("mediapipe", {"engine": "torch", "device": "cuda"}, "cuda:0"),
        ("face_alignment", {}, None),
        ("face_alignment", {"device": "cuda:1"}, "cuda:0"),
        ("imported", {"root": "landmarks"}, None),
    ],
)
def test_only_networks_on_a_gpu_need_a_worker_that_owns_one(backend, options, device):
    config = ExtractConfig(backend=backend, backend_options=options)
    of_worker = STAGES["extract"].on_one_gpu(config)
    if device is None:
        assert of_worker is None
    else:
        assert of_worker.backend_options == config.backend_options | {"device": device}
        assert backend_facts(of_worker) == backend_facts(config)


def test_no_other_stage_needs_one():
    for name in STAGES.keys() - {"extract"}:
        assert STAGES[name].on_one_gpu(STAGES[name].config) is None


def test_the_engine_is_checked(monkeypatch):
    monkeypatch.setenv("AVSEP_ENGINE", "spark")
    with pytest.raises(UsageError, match="it may be local or dask"):
        runners.engine()
    runners.task_runner()  # flows can still be imported, and say it when they run
    monkeypatch.setenv("AVSEP_ENGINE", "dask")
    monkeypatch.setenv("AVSEP_DASK_WORKERS", "0")
    with pytest.raises(UsageError, match="it must be 1 or more"):
        runners.engine()


@pytest.mark.slow
def test_a_cluster_that_a_flow_starts_is_on_this_machine_and_takes_nobody_else(monkeypatch):
    monkeypatch.setenv("AVSEP_ENGINE", "dask")
    monkeypatch.delenv("AVSEP_DASK_SCHEDULER", raising=False)
    runner = runners.task_runner()
    with LocalCluster(**runner.cluster_kwargs | {"n_workers": 0}) as cluster:
        address = cluster.scheduler_address
        assert address.startswith("tls://127.0.0.1:")
        with pytest.raises(OSError, match=REFUSED):
            Client(address.replace("tls://", "tcp://"), timeout="1s")
        with pytest.raises(OSError, match=REFUSED):  # nor somebody with their own certificate
            Client(address, security=Security.temporary(), timeout="1s")
        with Client(cluster) as ours:
            assert ours.scheduler_info()["workers"] == {}
