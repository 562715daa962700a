"""The engine dask: a scheduler and two workers as processes, one killed; the bytes of local.

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
from pathlib import Path

import numpy as np
import pytest
from distributed import Client, LocalCluster
from distributed.security import Security

from avsep.errors import UsageError
from avsep.files import sha256_file
from avsep.schema import Clip
from avsep.shards.verify import verify_set
from avsep.tables import write_rows
from avsep.workspace import Workspace
from flows import runners
from pipeline.execution.ledger import Ledger
from tests.support.stage_run import run_stage

ROOT = Path(__file__).parents[2]
FRAMES = 40
PARAMS = "extract: {workers: 0, clips_per_shard: 1}\n"
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


def project(root: Path, clips: tuple[Path, list[Clip]]) -> Workspace:
    workspace = Workspace(root)
    root.mkdir()
    (root / "params.yaml").write_text(PARAMS)
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
        | more
        | {
            "PYTHONPATH": str(ROOT),
            "OMP_NUM_THREADS": "1",
            "DASK_DISTRIBUTED__WORKER__DAEMON": "False",
        }
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


@pytest.mark.slow
def test_a_worker_that_dies_costs_nothing_and_changes_nothing(tmp_path, clips):
    local = project(tmp_path / "local", clips)
    run_stage("extract", local)
    far = project(tmp_path / "far", clips)
    address_file = tmp_path / "scheduler.json"
    tls = certificates(tmp_path)
    scheduler = start(
        *("scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard"),
        *("--scheduler-file", str(address_file)),
        **tls,
    )
    processes = [scheduler]
    try:
        deadline = time.monotonic() + 1800
        while not address_file.exists() and time.monotonic() < deadline:
            assert scheduler.poll() is None
            time.sleep(0.2)
        words = ("worker", "--scheduler-file", str(address_file), "--nthreads", "1")
        workers = [
            start(
                *words, "--name", name, "--no-dashboard", "--local-directory", str(tmp_path), **tls
            )
            for name in ("one", "two")
        ]
        processes += workers
        address = json.loads(address_file.read_text())["address"]
        with pytest.raises(OSError, match=REFUSED):  # it takes nobody without a certificate
            Client(address.replace("tls://", "tcp://"), timeout="2s")
        environment = os.environ | tls
        environment |= {"AVSEP_ENGINE": "dask", "AVSEP_DASK_SCHEDULER": address}
        flow = subprocess.Popen(
            [sys.executable, "-m", "flows.stages", "extract", "--root", str(far.root)],
            cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        done = far.work("extract")
        while not list(done.glob("*.done.json")) and time.monotonic() < deadline:
            assert flow.poll() is None, flow.communicate()[0]
            time.sleep(0.05)
        end(workers[0])  # not asked to stop, with its nanny
        finished_before = {path: path.stat().st_mtime_ns for path in done.glob("*.done.json")}
        assert len(finished_before) < 8, "killed too late to mean anything"
        output = flow.communicate(timeout=1800)[0]
        assert flow.returncode == 0, output
    finally:
        for process in processes:
            end(process)
    assert "extract: 8 done" in output
    assert hashes(far) == hashes(local)
    assert verify_set(far.shards, deep=True) == []
    counts = Ledger(far.ledger).counts("extract")
    assert (counts.done, counts.total) == (8, 8)
    now = {path: path.stat().st_mtime_ns for path in done.glob("*.done.json")}
    assert finished_before.items() <= now.items(), "what was finished was not done again"


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
