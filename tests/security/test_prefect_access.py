"""A Prefect server of ours takes no run from a web page or from another user."""

import asyncio
import os
import stat
from pathlib import Path
from types import SimpleNamespace

import pytest
from prefect.server.api.validation import validate_job_variables_for_deployment_flow_run
from prefect.server.schemas.actions import DeploymentFlowRunCreate

from avsep.errors import CheckError
from flows import access, local_server
from flows.access import password, server_command, server_environment
from flows.loopback import listen


def test_the_password_is_long_kept_to_its_user_and_stays(tmp_path: Path):
    made = password(tmp_path / "state")
    assert made.startswith("avsep:")
    assert len(made) > 40
    file = tmp_path / "state" / "password"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert password(tmp_path / "state") == made
    assert password(tmp_path / "other") != made


@pytest.mark.parametrize("what", ["readable", "link", "directory link", "empty", "other", "fifo"])
def test_a_password_that_others_may_know_is_replaced(tmp_path: Path, what: str):
    file, known = tmp_path / "password", "avsep:known-to-others"
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text(known)
    elsewhere.chmod(0o600)
    match what:
        case "readable":
            file.write_text(known)
            file.chmod(0o640)
        case "link":
            file.symlink_to(elsewhere)
        case "directory link":
            file.symlink_to(tmp_path)
        case "fifo":
            os.mkfifo(file, 0o600)
        case _:
            file.write_text("" if what == "empty" else "admin:admin\n")
            file.chmod(0o600)
    made = password(tmp_path)
    assert made.startswith("avsep:")
    assert made != known
    assert file.is_file()
    assert not file.is_symlink()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert elsewhere.read_text() == known


def test_a_disk_that_keeps_nothing_to_its_user_is_named(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(access, "_is_private", lambda _file: False)
    with pytest.raises(CheckError, match="its disk does not support file permissions"):
        password(tmp_path)


def test_the_password_is_on_no_command_line():
    auth = "avsep:secret"
    with listen() as listening:
        assert auth not in " ".join(server_command(listening, page=True))
        told = server_environment(listening, auth)
    assert told["PREFECT_SERVER_API_AUTH_STRING"] == auth
    assert "*" not in told["PREFECT_SERVER_CORS_ALLOWED_ORIGINS"]


@pytest.mark.parametrize(
    "variables",
    [
        {"command": "touch /tmp/x"},
        {"env": {"LD_PRELOAD": "/tmp/x.so"}},
        {"env.LD_PRELOAD": "/tmp/x.so"},
        {"working_dir": "/tmp"},
        {"anything": 1},
    ],
)
def test_who_starts_a_run_cannot_choose_its_command_environment_or_folder(variables):
    """Prefect's own check, which its API makes of each request, and its worker's reading."""
    from prefect.workers.process import ProcessJobConfiguration

    pool = SimpleNamespace(name="local", base_job_template=local_server.JOB_TEMPLATE)
    deployment = SimpleNamespace(work_queue=SimpleNamespace(work_pool=pool), job_variables={}, id=1)
    asked = DeploymentFlowRunCreate(job_variables=variables)
    with pytest.raises(Exception, match="Additional properties are not allowed"):
        asyncio.run(validate_job_variables_for_deployment_flow_run(None, deployment, asked))
    # Should one slip through, the worker does not use it.
    made = asyncio.run(
        ProcessJobConfiguration.from_template_and_values(
            local_server.JOB_TEMPLATE, variables, client=SimpleNamespace()
        )
    )
    assert (made.command, made.env, made.working_dir) == (None, {}, None)


def test_up_does_not_go_on_with_a_server_without_our_password(monkeypatch):
    url, given = "http://127.0.0.1:4200/api", {}
    monkeypatch.setattr(access, "answers", lambda _url, headers=None: given[bool(headers)])
    for without, with_it in ((True, True), (False, False)):
        given.update({False: without, True: with_it})
        with pytest.raises(CheckError, match="run `avsep down`, then `avsep up`"):
            local_server._check_password(url, "avsep:x", os.getpid())
    given.update({False: False, True: True})
    local_server._check_password(url, "avsep:x", os.getpid())
    monkeypatch.setattr(access, "ANSWER_TIMEOUT_S", -1.0)
    given.update({False: None, True: None})
    for pid in (os.getpid(), 0):  # it runs, or it has gone meanwhile
        with pytest.raises(CheckError, match="does not answer"):
            local_server._check_password(url, "avsep:x", pid)


@pytest.mark.parametrize("runs", [True, False])
def test_a_server_that_is_slow_to_answer_is_asked_again_while_it_runs(monkeypatch, runs):
    given = iter([None, None, False, None, False, True])
    monkeypatch.setattr(access, "answers", lambda *_: next(given))
    monkeypatch.setattr(access, "POLL_S", 0.0)
    looks = iter([True, True, runs])
    guarded = access.is_guarded("http://127.0.0.1:4200/api", "avsep:x", lambda: next(looks))
    assert guarded is runs
