"""A Prefect server and a worker on one machine: what `avsep up` starts and `avsep down` stops.

The server listens on the loopback address only and asks for a password (`flows.access`). Both keep
their state in `data/.work/local_server` and outlive the terminal. `up` starts what is not running
and leaves the rest alone, so it also restarts a worker that has died.
"""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import socket
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

from avsep.errors import AvsepError, CheckError
from avsep.files import read_json, write_json
from avsep.workspace import Workspace
from flows.access import (
    ANSWER_TIMEOUT_S,
    PASSWORD_FILE,
    basic,
    is_guarded,
    password,
    server_command,
    server_environment,
)
from flows.loopback import HOST, is_healthy, listen, post, without_proxy
from flows.processes import end_with_children, started

POOL = "local"
PORT = 4200
START_TIMEOUT_S = 600.0  # it takes 15 s, but a machine may be busy with its work
GRACE_S = 15.0
PARTS = ("server", "worker")
# How the worker starts a run. Nothing in it is a variable, so that whoever starts one can choose
# its parameters, and neither its command, its environment nor its folder.
JOB_TEMPLATE: dict[str, dict[str, object]] = {
    "variables": {"type": "object", "properties": {}, "additionalProperties": False},
    "job_configuration": {"stream_output": True},
}


def up(root: Path, port: int) -> str:
    """Start server and worker where they are not running, and register the deployments.

    Returns:
        The URL of the API.

    Raises:
        CheckError: something did not start; names its log.
    """
    state = _state_dir(root)
    state.mkdir(parents=True, exist_ok=True)
    known = _known(state)
    if "server" in known:
        port = int(known["server"]["port"])
    url = f"http://{HOST}:{port}/api"
    auth = password(state)
    environment = _environment(root, state, url, auth)
    if "server" not in known:
        with _listen(port) as listening:
            alone = environment | server_environment(listening, auth)
            command = server_command(listening, page=True)
            made = _start(state, "server", command, root, alone, listening.fileno())
        known["server"] = made | {"port": port}
        write_json(state / "local_server.json", known)
    _wait_for(url, known["server"]["pid"], state / "server.log")
    _check_password(url, auth, known["server"]["pid"])
    template = state / "job_template.json"
    write_json(template, JOB_TEMPLATE)
    words = ("--type", "process", "--base-job-template", str(template), "--overwrite")
    _prefect(root, environment, "work-pool", "create", POOL, *words)
    _prefect(root, environment, "--no-prompt", "deploy", "--all")
    if "worker" not in known:
        _free_claimed_runs(url, auth)
        command = [sys.executable, "-m", "prefect", "worker", "start", "--pool", POOL]
        command += ["--type", "process"]
        known["worker"] = _start(state, "worker", command, root, environment)
        write_json(state / "local_server.json", known)
    return url


def down(root: Path) -> list[str]:
    """Stop worker and server, and the runs they had started; returns what was running."""
    state = _state_dir(root)
    known = _known(state)
    stopped = [part for part in reversed(PARTS) if part in known]
    for part in stopped:
        end_with_children([int(known[part]["pid"])], GRACE_S)
    (state / "local_server.json").unlink(missing_ok=True)
    return stopped


def _state_dir(root: Path) -> Path:
    return Workspace(root.resolve()).work("local_server")


def _environment(root: Path, state: Path, url: str, auth: str) -> dict[str, str]:
    """The environment of Prefect's commands in a project."""
    return without_proxy(dict(os.environ) | {"PREFECT_API_URL": url}) | {
        "PREFECT_API_AUTH_STRING": auth,
        "PREFECT_HOME": str(state / "home"),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
        # Flow runs start `python` and `dvc` by their names.
        "PATH": f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}",
        # prefect.yaml asks for it: that of our caller's shell may be another folder.
        "PWD": str(root.resolve()),
    }


def _known(state: Path) -> dict[str, dict[str, int | str]]:
    """The parts that run, as the last `up` wrote them down."""
    path = state / "local_server.json"
    written = read_json(path) if path.exists() else {}
    return {
        part: facts
        for part, facts in written.items()
        if started(int(facts["pid"])) == facts["started"]
    }


def _start(
    state: Path, part: str, command: list[str], root: Path, environment: dict[str, str], *given: int
) -> dict[str, int | str]:
    with (state / f"{part}.log").open("ab") as sink:
        process = subprocess.Popen(
            command, cwd=root, env=environment, stdin=subprocess.DEVNULL, stdout=sink, stderr=sink,
            start_new_session=True, pass_fds=given,
        )  # fmt: skip
    return {"pid": process.pid, "started": started(process.pid)}


def _listen(port: int) -> socket.socket:
    try:
        return listen(port)
    except OSError as error:
        raise CheckError(
            f"port {port} is taken; give another one with --port, or use the server that is"
            " there by PREFECT_API_URL."
        ) from error


def _wait_for(url: str, pid: int | str, log: Path) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while not is_healthy(url):
        if not started(int(pid)) or time.monotonic() > deadline:
            raise CheckError(f"the Prefect server did not start; {log} says why.")
        time.sleep(0.5)


def _check_password(url: str, auth: str, pid: int | str) -> None:
    """Pass where the server asks for a password, and takes ours.

    Raises:
        CheckError: it does not; that of an older version asked for none.
    """
    guarded = is_guarded(url, auth, lambda: bool(started(int(pid))))
    if guarded is None or not started(int(pid)):
        raise CheckError(f"the Prefect server at {url} does not answer; try again.")
    if not guarded:
        raise CheckError(
            f"the Prefect server at {url} was started with another password or without one; run"
            " `avsep down`, then `avsep up`."
        )


def _free_claimed_runs(url: str, auth: str) -> None:
    """Give up runs that a worker had claimed and not started when it died.

    They would hold the place of their deployment, and every later run would wait for them.
    """
    claimed = {
        "flow_runs": {"state": {"type": {"any_": ["PENDING"]}}},
        "work_pools": {"name": {"any_": [POOL]}},
    }
    state = {"type": "CRASHED", "name": "Crashed", "message": "its worker has gone"}
    try:
        ask = partial(post, headers=basic(auth), timeout_s=ANSWER_TIMEOUT_S)
        for run in ask(f"{url}/flow_runs/filter", claimed):
            ask(f"{url}/flow_runs/{run['id']}/set_state", {"state": state, "force": True})
    except (OSError, ValueError) as error:
        raise CheckError(f"the Prefect server at {url} does not answer: {error}") from error


def _prefect(root: Path, environment: dict[str, str], *words: str) -> None:
    try:
        done = subprocess.run(
            [sys.executable, "-m", "prefect", *words],
            cwd=root, env=environment, capture_output=True, text=True, check=False,
            stdin=subprocess.DEVNULL, timeout=START_TIMEOUT_S,
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise CheckError(f"`prefect {' '.join(words)}` takes too long; try again.") from error
    if done.returncode:
        said = " / ".join((done.stdout + done.stderr).strip().splitlines()[-3:])
        raise CheckError(f"`prefect {' '.join(words)}` failed: {said}")


def main() -> None:
    """The command line of `avsep up` and `avsep down`: `python -m flows.local_server`."""
    parser = argparse.ArgumentParser(prog="python -m flows.local_server", description=main.__doc__)
    parser.add_argument("what", choices=("up", "down"))
    parser.add_argument("--root", type=Path, default=Path())
    parser.add_argument("--port", type=int, default=PORT)
    arguments = parser.parse_args()
    try:
        if arguments.what == "down":
            stopped = down(arguments.root)
            print(f"stopped {' and '.join(stopped)}." if stopped else "nothing was running.")
            return
        if not (arguments.root / "prefect.yaml").is_file():
            raise CheckError(f"{arguments.root.resolve()} holds no prefect.yaml.")
        if shutil.which("git") is None:
            raise CheckError("git is missing, which DVC needs.")
        url = up(arguments.root.resolve(), arguments.port)
    except AvsepError as error:
        print(f"avsep: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    secret = shlex.quote(str(_state_dir(arguments.root) / PASSWORD_FILE))
    print(f"The page is at {url.removesuffix('/api')}; it asks for the line that this shows:")
    print(f"cat {secret}")
    print("For other commands of Prefect:")
    print(f'export PREFECT_API_URL={url} PREFECT_API_AUTH_STRING="$(cat {secret})"')


if __name__ == "__main__":
    main()
