"""HTTP to servers of this machine. Loopback never goes through a proxy, here or in a child."""

from __future__ import annotations

import json
import os
import urllib.request
from typing import Any

HOST = "127.0.0.1"
_NO_PROXY = (HOST, "localhost", "::1")
_opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def without_proxy(environment: dict[str, str]) -> dict[str, str]:
    """A copy of an environment in which no program sends loopback traffic to a proxy."""
    hosts = [
        host
        for name in ("no_proxy", "NO_PROXY")
        for host in environment.get(name, "").split(",")
        if host.strip()
    ]
    named = ",".join(dict.fromkeys([*hosts, *_NO_PROXY]))
    return environment | {"no_proxy": named, "NO_PROXY": named}


def is_healthy(url: str) -> bool:
    """Whether a Prefect API answers at a URL."""
    try:
        with _opener.open(f"{url}/health", timeout=5) as answer:
            return bool(answer.status == 200)
    except (OSError, ValueError):
        return False


def post(address: str, body: dict[str, Any], *, timeout_s: float) -> Any:
    """Send JSON to an API and return what it answers.

    Raises:
        OSError: it cannot be reached or refuses.
        ValueError: its answer is not JSON.
    """
    request = urllib.request.Request(  # noqa: S310 loopback
        address,
        data=json.dumps(body).encode("utf-8"),
        headers={"content-type": "application/json"},
    )
    with _opener.open(request, timeout=timeout_s) as answer:
        return json.load(answer)


def use_no_proxy() -> None:
    """Set this for this process and its children."""
    os.environ.update(without_proxy(dict(os.environ)))
