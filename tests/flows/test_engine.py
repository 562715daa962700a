"""A stage as a Prefect flow: it ends when asked, and the next run goes on."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from tests.support.processes import LIMIT_S, all_end

ROOT = Path(__file__).parents[2]
SPEAKERS = "{clips_per_speaker: 1, train: [0, 1], val: [], test: [5]}"


def _start(project: Path) -> subprocess.Popen[str]:
    environment = {k: v for k, v in os.environ.items() if k != "PREFECT_API_URL"}
    return subprocess.Popen(
        [sys.executable, "-m", "flows.stages", "download", "--root", str(project)],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def _children(pid: int) -> list[int]:
    return [child.pid for child in psutil.Process(pid).children()]


def _lines(folder: Path) -> list[str]:
    text = "\n".join(path.read_text() for path in folder.glob("*.jsonl"))
    return [line for line in text.splitlines() if line.endswith("]")]


@pytest.mark.slow
def test_a_flow_that_is_asked_to_end_leaves_nothing_behind_and_goes_on_next_time(tmp_path: Path):
    (tmp_path / "params.yaml").write_text(f"download: {{demo: {SPEAKERS}}}\n")
    raw, journals = tmp_path / "data" / "raw", tmp_path / "data" / ".work" / "download"
    first = _start(tmp_path)
    deadline = time.monotonic() + LIMIT_S
    # A file alone is not enough: it is made again where its line is not written yet.
    while not (lines := _lines(journals)) and time.monotonic() < deadline:
        assert first.poll() is None, first.communicate()[0]
        time.sleep(0.1)
    finished = [next(raw.rglob(f"{json.loads(line)[0]}.mp4")) for line in lines]
    assert finished
    done_before = {path: path.stat().st_mtime_ns for path in finished}
    workers = _children(first.pid)
    assert workers
    first.send_signal(signal.SIGTERM)
    output = first.communicate(timeout=LIMIT_S)[0]
    assert first.returncode != 0, output
    assert all_end(workers)
    assert not (tmp_path / "data" / "raw.parquet").exists()

    second = _start(tmp_path)
    output = second.communicate(timeout=LIMIT_S)[0]
    assert second.returncode == 0, output
    assert "download: 3 done" in output
    assert done_before.items() <= {p: p.stat().st_mtime_ns for p in raw.rglob("demo-*.mp4")}.items()


@pytest.mark.slow
def test_a_flow_that_is_asked_to_end_ends_though_nobody_reads_what_it_says():
    code = "import sys; from flows.engine import _exit; sys.stdin.read(); _exit(143)"
    flow = subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, stdin=subprocess.PIPE, stderr=subprocess.PIPE
    )
    flow.stderr.close()
    flow.stdin.close()
    assert flow.wait(LIMIT_S) == 143
