"""One Prefect server for a run: shared by its stages, gone with the last of them."""

import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
from prefect.settings import temporary_settings

from avsep.errors import CheckError
from flows import server
from flows.access import password
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
        assert server.supervise(tmp_path / "state", 1) == 0
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        for process in started:
            process.kill()
    assert started[0].poll() == -signal.SIGTERM
