"""A Prefect server of a test, and requests to one as a stranger would send them."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from flows.access import basic, server_command, server_environment
from flows.loopback import HOST, is_healthy, listen, port_of
from tests.support.processes import LIMIT_S


def free_port() -> int:
    """A port that nobody uses at the moment."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def prefect_server(home: Path) -> Iterator[dict[str, str]]:
    """A server; yields the variables with which a flow uses it."""
    auth = "avsep:test"
    with listen() as listening:
        process = subprocess.Popen(
            server_command(listening, page=False), pass_fds=[listening.fileno()],
            env=os.environ | server_environment(listening, auth) | {"PREFECT_HOME": str(home)},
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        url = f"http://{HOST}:{port_of(listening)}/api"
    deadline = time.monotonic() + LIMIT_S
    try:
        while not is_healthy(url):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.2)
        yield {"PREFECT_API_URL": url, "PREFECT_API_AUTH_STRING": auth}
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def status(address: str, method: str = "GET", **headers: str) -> tuple[int, dict[str, str]]:
    """The status and the headers of an answer."""
    body = b"{}" if method == "POST" else None
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    request = urllib.request.Request(address, data=body, method=method, headers=names)
    try:
        with urllib.request.urlopen(request, timeout=120) as answer:
            return answer.status, {k.lower(): v for k, v in answer.headers.items()}
    except urllib.error.HTTPError as error:
        return error.code, {k.lower(): v for k, v in error.headers.items()}


def refuses_strangers(url: str, auth: str) -> None:
    """Fail where the API at a URL does anything for who has no password or comes from elsewhere."""
    ask = f"{url}/deployments/filter"
    plain = {"content_type": "text/plain"}  # what a web page may send without asking
    assert status(ask, "POST", **plain)[0] == 401
    assert status(ask, "POST", **basic("avsep:guess"))[0] == 401
    code, headers = status(ask, "POST", origin="http://evil.example", **basic(auth))
    assert (code, "access-control-allow-origin" in headers) == (200, False)
    wanted = {"access_control_request_method": "POST"}
    code, headers = status(ask, "OPTIONS", origin="http://evil.example", **wanted)
    assert (code, "access-control-allow-origin" in headers) == (400, False)
    for host in ("evil.example", "127.0.0.1.evil.example", "evil.example:4200", ""):
        assert status(ask, "POST", host=host, **basic(auth))[0] == 400, host
    own = url.removesuffix("/api")
    assert status(ask, "POST", origin=own, **basic(auth))[1]["access-control-allow-origin"] == own
