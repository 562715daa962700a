"""One Prefect API for a whole run: the user's own, or one loopback server that all stages share.

Starting a server takes 10 to 25 seconds, so the stages of one `dvc repro` share one. The first
stage starts it under a lock. Every stage registers the process that its run belongs to: the `dvc`
above it, or itself. A small supervisor stops the server when the last of these has ended, in
whatever way.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from avsep.errors import CheckError
from avsep.files import write_json
from avsep.terminal import echo
from flows.access import is_guarded, password, server_command, server_environment
from flows.loopback import HOST, check_proxy, is_healthy, listen, port_of
from flows.processes import outermost_dvc, started
from pipeline.disk import full_disk

START_TIMEOUT_S = 600.0  # it takes 15 s, but a machine may be busy with its work
STOP_TIMEOUT_S = 20.0
POLL_S = 1.0


def api_settings(state_dir: Path) -> dict[str, Any]:
    """Prefect's settings for a client of the API; starts the shared server when there is none.

    `PREFECT_API_URL` wins where it is set; its password is then in `PREFECT_API_AUTH_STRING`.

    Args:
        state_dir: folder for the lock, the server's password, its database and its log.

    Raises:
        UsageError: see `check_proxy`.
        CheckError: the server did not come up, or does not answer; the message names its log.
    """
    if url := os.environ.get("PREFECT_API_URL"):
        check_proxy(dict(os.environ))
        return {"api.url": url, "home": state_dir / "home"}
    state_dir.mkdir(parents=True, exist_ok=True)
    with _locked(state_dir):
        _register(state_dir, outermost_dvc())
        auth = password(state_dir)
        url = _running(state_dir)
        guarded = url is not None and is_guarded(url, auth, lambda: _running(state_dir) == url)
        if guarded is None:
            raise CheckError(
                f"the Prefect server at {url}, which the stages share, runs and does not answer;"
                f" run it again, or look into {state_dir / 'server.log'}."
            )
        if url is None or not guarded:
            url = _start(state_dir)
    return {"api.url": url, "api.auth_string": auth, "home": state_dir / "home"}


def check_api() -> None:
    """Pass where the API of Prefect's present settings answers, takes our password and fits.

    Raises:
        CheckError: it does not; says which, without the password that its address may hold.
    """
    import httpx
    from prefect.client.orchestration import get_client
    from prefect.settings import PREFECT_API_URL

    url = PREFECT_API_URL.value() or ""
    where = urlsplit(url).netloc.rpartition("@")[2] or url
    try:
        with get_client(sync_client=True) as client:
            client.raise_for_api_version_mismatch()
    except (RuntimeError, ValueError, TypeError, httpx.HTTPError, httpx.InvalidURL) as error:
        raise CheckError(f"the Prefect server at {where} {_fault(error)}") from error


def _fault(error: Exception) -> str:
    """What is wrong with a server, from what its check raised, and what to do."""
    import httpx

    unset = "correct PREFECT_API_URL, or unset it to have one started."
    cause = error.__cause__ or error  # Prefect wraps all but a refusal and its own finding
    if isinstance(error, RuntimeError) and error.__cause__ is None:
        what = str(error).rstrip(".")
        return f"has a version that does not fit ({what}). Update the older one, {unset}"
    if isinstance(cause, httpx.HTTPStatusError):
        status = cause.response.status_code
        if status in (401, 403):
            return f"refuses us ({status}); see PREFECT_API_AUTH_STRING. Else {unset}"
        return f"answers with an error ({status}). Look into its log, {unset}"
    if isinstance(cause, ValueError | TypeError):
        return f"answers, but not as a Prefect server does. Else {unset}"
    return f"does not answer. Start it, {unset}"


@contextmanager
def _locked(state_dir: Path) -> Iterator[None]:
    with (state_dir / "lock").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _running(state_dir: Path) -> str | None:
    """The URL of the server whose supervisor still runs; None where there is none.

    Where it has gone, its port may be another program's by now, which must not get our password.
    """
    try:
        written = json.loads((state_dir / "server.json").read_text("utf-8"))
        url, pid, since = str(written["url"]), int(written["pid"]), str(written["started"])
    except (FileNotFoundError, ValueError, KeyError, TypeError):  # older versions wrote the URL
        return None
    return url if since and started(pid) == since else None


def _start(state_dir: Path) -> str:
    """Start the supervisor detached from this stage and wait until the API answers."""
    log = state_dir / "server.log"
    echo("starting the Prefect server that the stages share", err=True)
    with log.open("ab") as sink, listen() as listening:
        url = f"http://{HOST}:{port_of(listening)}/api"
        supervisor = subprocess.Popen(
            [sys.executable, "-m", "flows.server", str(state_dir), str(listening.fileno())],
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=sink,
            start_new_session=True,
            pass_fds=[listening.fileno()],
        )
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline and supervisor.poll() is None:
        if is_healthy(url):
            facts = {"url": url, "pid": supervisor.pid, "started": started(supervisor.pid)}
            write_json(state_dir / "server.json", facts)
            return url
        time.sleep(0.25)
    supervisor.terminate()
    raise CheckError(f"the Prefect server did not start: {full_disk(state_dir) or f'see {log}'}.")


def _register(state_dir: Path, pid: int) -> None:
    owners = state_dir / "owners"
    owners.mkdir(exist_ok=True)
    (owners / f"{pid}-{started(pid)}").touch()


def _living_owners(state_dir: Path) -> int:
    living = 0
    for path in sorted((state_dir / "owners").glob("*-*")):
        pid, _, since = path.name.partition("-")
        if since and started(int(pid)) == since:
            living += 1
        else:
            path.unlink(missing_ok=True)
    return living


def supervise(state_dir: Path, listening: socket.socket) -> int:
    """Run the server until the last owner has gone; returns the exit code."""
    environment = os.environ | {
        "PREFECT_HOME": os.environ.get("PREFECT_HOME", str((state_dir / "home").resolve())),
        **server_environment(listening, password(state_dir)),
    }
    server = subprocess.Popen(
        server_command(listening, page=False),
        env=environment,
        stdin=subprocess.DEVNULL,
        start_new_session=True,
        pass_fds=[listening.fileno()],
    )
    listening.close()  # else what connects after the server has gone would wait
    stop_asked = False

    def ask_stop(_signal: int, _frame: object) -> None:
        nonlocal stop_asked
        stop_asked = True

    signal.signal(signal.SIGTERM, ask_stop)
    signal.signal(signal.SIGINT, ask_stop)
    try:
        while server.poll() is None and not stop_asked and not _is_over(state_dir):
            time.sleep(POLL_S)
    finally:  # whatever happened, nothing else would ever stop the server
        _stop(server)
    return 0


def _is_over(state_dir: Path) -> bool:
    """Whether the last owner has gone, or the folder with what is known of them."""
    if _living_owners(state_dir):
        return False
    try:
        # Looked at again under the lock: a stage may be registering this moment.
        with _locked(state_dir):
            if _living_owners(state_dir):
                return False
            (state_dir / "server.json").unlink(missing_ok=True)
    except FileNotFoundError:  # the whole project was removed
        pass
    return True


def _stop(server: subprocess.Popen[bytes]) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        if server.poll() is not None:
            return
        os.killpg(server.pid, number)
        try:
            server.wait(timeout=STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            continue


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="supervise the shared Prefect server")
    parser.add_argument("state_dir", type=Path)
    parser.add_argument("descriptor", type=int, help="of a socket that listens")
    arguments = parser.parse_args()
    sys.exit(supervise(arguments.state_dir, socket.socket(fileno=arguments.descriptor)))
