"""HTTP to servers of this machine. Loopback never goes through a proxy, here or in a child."""

from __future__ import annotations

import json
import os
import socket
import urllib.error
import urllib.request
from http.client import HTTPException
from typing import Any
from urllib.parse import urlsplit

from avsep.errors import UsageError

HOST = "127.0.0.1"
_NO_PROXY = (HOST, "localhost", "::1")
_opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def without_proxy(environment: dict[str, str]) -> dict[str, str]:
    """A copy of an environment in which no program sends loopback traffic to a proxy."""
    hosts = [
        host.strip()
        for name in ("no_proxy", "NO_PROXY")
        for host in environment.get(name, "").split(",")
        if host.strip()
    ]
    if set(hosts) == {"*"}:  # no proxy at all, which only holds where it stands alone
        return environment | {"no_proxy": "*", "NO_PROXY": "*"}
    hosts += _NO_PROXY
    if _unknown_to_httpx(environment) and _is_here(environment.get("PREFECT_API_URL", "")):
        # It would fail at once, whatever the address. Of what runs in a stage, it alone takes a
        # star in a list for all addresses, and it talks to this machine only.
        hosts.append("*")
    named = ",".join(dict.fromkeys(hosts))
    return environment | {"no_proxy": named, "NO_PROXY": named}


def check_proxy(environment: dict[str, str]) -> None:
    """Pass where Prefect's client, which is built on httpx, can be made.

    Raises:
        UsageError: its server is elsewhere, and it does not know the kind of a proxy.
    """
    named = _unknown_to_httpx(environment)
    if named and not _is_here(environment.get("PREFECT_API_URL", "")):
        kind = environment[named].partition("://")[0]
        raise UsageError(
            f"{named} names a {kind} proxy, which Prefect's client does not know; unset it for this"
            " command, or name an http:// proxy."
        )


def _unknown_to_httpx(environment: dict[str, str]) -> str:
    """The variable with a proxy that httpx refuses, e.g. a SOCKS one; empty where there is none."""
    names = [f"{kind}_proxy" for kind in ("http", "https", "all")]
    for name in (*names, *map(str.upper, names)):
        value = environment.get(name, "")
        if "://" in value and not value.lower().startswith(("http://", "https://")):
            return name
    return ""


def _is_here(url: str) -> bool:
    return not url or urlsplit(url).hostname in _NO_PROXY


def listen(port: int = 0) -> socket.socket:
    """A socket that listens on the loopback address, at a free port if 0; for a server to take.

    A port that was only looked up could be another program's by the time the server wants it,
    which would then be told the server's password.

    Raises:
        OSError: the port is taken.
    """
    listening = socket.socket()
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((HOST, port))
        listening.listen()
    except OSError:
        listening.close()
        raise
    return listening


def port_of(listening: socket.socket) -> int:
    """The port of a socket."""
    return int(listening.getsockname()[1])


def is_healthy(url: str) -> bool:
    """Whether a Prefect API answers at a URL."""
    return answers(f"{url}/health") is True


def answers(address: str, headers: dict[str, str] | None = None) -> bool | None:
    """Whether a GET of an address succeeds; None where nothing, or not HTTP, answers in time."""
    try:
        request = urllib.request.Request(address, headers=headers or {})  # noqa: S310 loopback
        with _opener.open(request, timeout=5) as answer:
            return bool(answer.status == 200)
    except urllib.error.HTTPError as error:
        error.close()
        return False
    except (OSError, ValueError, HTTPException):
        return None


def post(
    address: str, body: dict[str, Any], *, timeout_s: float, headers: dict[str, str] | None = None
) -> Any:
    """Send JSON to an API and return what it answers.

    Raises:
        OSError: it cannot be reached or refuses.
        ValueError: its answer is not JSON.
    """
    request = urllib.request.Request(  # noqa: S310 loopback
        address,
        data=json.dumps(body).encode("utf-8"),
        headers={"content-type": "application/json"} | (headers or {}),
    )
    with _opener.open(request, timeout=timeout_s) as answer:
        return json.load(answer)


def use_no_proxy() -> None:
    """Set this for this process and its children."""
    os.environ.update(without_proxy(dict(os.environ)))
