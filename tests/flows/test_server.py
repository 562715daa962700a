"""One Prefect server for a run: shared by its stages, gone with the last of them."""

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from prefect.settings import temporary_settings

from avsep.errors import CheckError
from avsep.files import write_json
from flows import server
from flows.access import basic, password
from flows.loopback import listen
from flows.processes import started
from tests.support.prefect_api import refuses_strangers

HOLD = """
import sys, time
from pathlib import Path
from flows.server import api_settings
print(api_settings(Path(sys.argv[1]))["api.url"], flush=True)
sys.stdin.read()
"""


def _stage(state: Path) -> subprocess.Popen[str]:
    environment = {k: v for k, v in os.environ.items() if k != "PREFECT_API_URL"}
    return subprocess.Popen(
        [sys.executable, "-c", HOLD, str(state)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    )


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/health", timeout=5) as answer:
            return answer.status == 200
    except OSError:
        return False


@pytest.mark.slow
def test_stages_share_one_server_that_ends_with_the_last_of_them(tmp_path: Path):
    stages = [_stage(tmp_path), _stage(tmp_path)]
    first, second = (stage.stdout.readline().strip() for stage in stages)
    assert first == second
    assert first.startswith("http://127.0.0.1:")
    refuses_strangers(first, password(tmp_path))
    stages[0].kill()  # not asked to stop: nothing of its own can tell the server
    stages[0].wait()
    time.sleep(3 * server.POLL_S)
    assert _answers(first), "the other stage still needs it"
    stages[1].communicate("")
    deadline = time.monotonic() + 240
    while _answers(first) and time.monotonic() < deadline:
        time.sleep(0.5)
    assert not _answers(first)


def test_the_users_own_server_is_used_and_none_started(tmp_path: Path, monkeypatch):
    monkeypatch.setenv("PREFECT_API_URL", "http://prefect.example/api")
    settings = server.api_settings(tmp_path / "state")
    assert settings["api.url"] == "http://prefect.example/api"
    assert "api.auth_string" not in settings, "that of the user is in the environment"
    assert not (tmp_path / "state").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("http://user:verysecret@127.0.0.1:9/api", "at 127.0.0.1:9 does not answer"),
        ("nonsense", "at nonsense does not answer"),
        ("http://127.0.0.1:99999999/api", "at 127.0.0.1:99999999 does not answer"),
    ],
)
def test_a_server_of_the_user_that_does_not_answer_is_named_without_its_password(url, sentence):
    with (
        temporary_settings({"api.url": url, "client.max_retries": 0}),
        pytest.raises(CheckError, match=sentence) as caught,
    ):
        server.check_api()
    assert "verysecret" not in str(caught.value)


@contextmanager
def answering(status: int, body: bytes, auth: str = "") -> Iterator[tuple[str, list[str]]]:
    """A server of somebody: its URL, and the passwords that it was told.

    With `auth` it answers 401 to whoever does not give that, except about its health.
    """
    told: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            given = self.headers.get("authorization", "")
            told.extend([given] if given else [])
            is_open = not auth or self.path.endswith("/health")
            code = status if is_open or given == basic(auth)["authorization"] else 401
            self.send_response(code)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as made:
        threading.Thread(target=made.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{made.server_port}/api", told
        made.shutdown()


@pytest.mark.parametrize(
    ("status", "body", "sentence"),
    [
        (200, b'"2.20.1"', r"has a version that does not fit \(Found .* server: 2\.20\.1"),
        (401, b"{}", r"refuses us \(401\); see PREFECT_API_AUTH_STRING"),
        (403, b"{}", r"refuses us \(403\); see PREFECT_API_AUTH_STRING"),
        (500, b"{}", r"answers with an error \(500\)"),
        (200, b"<html>", "answers, but not as a Prefect server"),
        (200, b'"x"', "answers, but not as a Prefect server"),
        (200, b"[1]", "answers, but not as a Prefect server"),
    ],
)
def test_what_is_wrong_with_a_server_that_answers_is_said(status, body, sentence):
    with (
        answering(status, body) as (url, _told),
        temporary_settings({"api.url": url, "client.max_retries": 0}),
        pytest.raises(CheckError, match=sentence) as caught,
    ):
        server.check_api()
    assert "does not answer" not in str(caught.value)


@pytest.mark.parametrize(
    "supervisor",
    ["of an older version", "gone", "another process", "no process", "asks for nothing", "odd"],
)
def test_only_a_server_whose_supervisor_runs_is_told_the_password(
    tmp_path: Path, monkeypatch, supervisor: str
):
    ended = subprocess.Popen(["true"])
    before = started(ended.pid) or "1"
    ended.wait()
    here, now = os.getpid(), started(os.getpid())
    facts: dict[str, object] = {
        "of an older version": {},
        "gone": {"pid": ended.pid, "started": before},
        "another process": {"pid": here, "started": f"{int(now) - 1}"},
        "no process": {"pid": ended.pid, "started": ""},
        "asks for nothing": {"pid": here, "started": now},
        "odd": {"pid": None, "started": now},
    }[supervisor]
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    monkeypatch.setattr(server, "_start", lambda _state: "http://of.our.own/api")
    # It asks for a password, to be told it, and takes ours.
    auth = "" if supervisor == "asks for nothing" else password(tmp_path)
    with answering(200, b"true", auth) as (url, told):
        write_json(tmp_path / "server.json", {"url": url} | facts)
        settings = server.api_settings(tmp_path)
    assert settings["api.url"] == "http://of.our.own/api"
    assert told == []


@pytest.mark.parametrize("known", [True, False])
def test_a_running_server_is_reused_where_it_takes_our_password(tmp_path, monkeypatch, known):
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    monkeypatch.setattr(server, "_start", lambda _state: "http://of.our.own/api")
    auth = password(tmp_path) if known else "avsep:replaced"
    with answering(200, b"true", auth) as (url, _told):
        facts = {"url": url, "pid": os.getpid(), "started": started(os.getpid())}
        write_json(tmp_path / "server.json", facts)
        used = server.api_settings(tmp_path)["api.url"]
    assert used == (url if known else "http://of.our.own/api")


def test_no_second_server_starts_beside_one_that_runs_and_does_not_answer(tmp_path, monkeypatch):
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    monkeypatch.setattr(server, "_start", lambda _state: pytest.fail("a second one"))
    monkeypatch.setattr(server, "is_guarded", lambda _url, _auth, runs: None if runs() else False)
    facts = {"url": "http://x/api", "pid": os.getpid(), "started": started(os.getpid())}
    write_json(tmp_path / "server.json", facts)
    with pytest.raises(CheckError, match="runs and does not answer"):
        server.api_settings(tmp_path)


def test_a_run_belongs_to_the_dvc_above_it(tmp_path: Path):
    code = (
        "from flows.processes import outermost_dvc; import os; print(outermost_dvc(), os.getppid())"
    )
    # A process whose command line says `dvc`, with a stage below a shell below it.
    fake = tmp_path / "dvc"
    fake.write_text(f"import subprocess, sys\nsubprocess.run([sys.executable, '-c', {code!r}])\n")
    output = subprocess.run(
        [sys.executable, str(fake), "repro"],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[2],
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
    ).stdout.split()
    assert output[0] == output[1]


def test_a_server_does_not_outlive_the_removed_folder_of_its_project(tmp_path: Path, monkeypatch):
    started = []
    popen = subprocess.Popen

    def stand_in(_command: list[str], **options: object) -> subprocess.Popen[bytes]:
        shutil.rmtree(tmp_path / "state")
        started.append(popen(["sleep", "600"], **options))
        return started[0]

    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    (tmp_path / "state" / "owners").mkdir(parents=True)
    monkeypatch.setattr(server.subprocess, "Popen", stand_in)
    try:
        assert server.supervise(tmp_path / "state", listen()) == 0
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        for process in started:
            process.kill()
    assert started[0].poll() == -signal.SIGTERM
