"""What `avsep up` and `avsep down` know of processes, ports and claimed runs."""

import json
import os
import socket
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import psutil
import pytest

from avsep.errors import CheckError
from avsep.files import write_json
from avsep.workspace import Workspace
from flows import local_server
from flows.processes import started

CHILD = "import subprocess, sys; subprocess.Popen(['sleep', '300'], start_new_session=True).wait()"


def facts(pid: int) -> dict[str, int | str]:
    assert started(pid)
    return {"pid": pid, "started": started(pid)}


def test_only_processes_that_still_run_are_known(tmp_path: Path):
    other = subprocess.Popen(["sleep", "300"])
    gone = facts(other.pid)
    other.kill()
    other.wait()
    alive = facts(os.getpid())
    again = alive | {"started": "1"}  # another process that once had our number
    write_json(tmp_path / "local_server.json", {"server": alive, "worker": gone, "third": again})
    assert list(local_server._known(tmp_path)) == ["server"]
    assert local_server._known(tmp_path / "nowhere") == {}


@pytest.mark.slow
def test_down_ends_a_worker_and_what_it_runs_in_other_sessions(tmp_path: Path):
    worker = subprocess.Popen([sys.executable, "-c", CHILD])
    deadline = time.monotonic() + 240
    while not (below := psutil.Process(worker.pid).children(recursive=True)):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    state = Workspace(tmp_path).work("local_server")
    write_json(state / "local_server.json", {"worker": facts(worker.pid)})
    assert local_server.down(tmp_path) == ["worker"]
    assert not any(started(pid) for pid in [worker.pid, *(process.pid for process in below)])
    assert local_server.down(tmp_path) == []


def test_deployments_work_in_the_project_wherever_up_was_called(tmp_path: Path, monkeypatch):
    monkeypatch.setenv("PWD", "/somewhere/else")
    environment = local_server._environment(tmp_path, tmp_path / "state", "http://x/api", "avsep:x")
    assert environment["PWD"] == str(tmp_path)
    written = (Path(__file__).parents[2] / "prefect.yaml").read_text("utf-8")
    assert 'directory: "{{ $PWD }}"' in written


def test_a_port_that_is_taken_is_named():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(CheckError, match=f"port {taken.getsockname()[1]} is taken"):
            local_server._listen(taken.getsockname()[1])


@pytest.mark.slow
def test_runs_that_a_dead_worker_had_claimed_are_given_up():
    asked: list[tuple[str, dict]] = []

    class Api(BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            asked.append((self.path, body))
            assert self.headers["authorization"] == "Basic YXZzZXA6eA=="
            answer = json.dumps([{"id": "r1"}] if self.path.endswith("filter") else {}).encode()
            self.send_response(200)
            self.send_header("content-length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_):
            pass

    api = HTTPServer(("127.0.0.1", 0), Api)
    threading.Thread(target=api.serve_forever, daemon=True).start()
    try:
        local_server._free_claimed_runs(f"http://127.0.0.1:{api.server_port}/api", "avsep:x")
    finally:
        api.shutdown()
        api.server_close()
    assert asked[0][1]["flow_runs"]["state"]["type"]["any_"] == ["PENDING"]
    assert asked[0][1]["work_pools"]["name"]["any_"] == [local_server.POOL]
    assert asked[1][0] == "/api/flow_runs/r1/set_state"
    assert asked[1][1]["state"]["type"] == "CRASHED"
    with pytest.raises(CheckError, match="does not answer"):
        local_server._free_claimed_runs(f"http://127.0.0.1:{api.server_port}/api", "avsep:x")
