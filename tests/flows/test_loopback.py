"""Loopback never goes through a proxy, which most labs have in the environment."""

import os
import socket
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from avsep.errors import UsageError
from flows.loopback import (
    HOST,
    check_proxy,
    is_healthy,
    listen,
    port_of,
    post,
    without_proxy,
)

ROOT = Path(__file__).parents[2]
DEAD_PROXY = "http://127.0.0.1:9"  # the discard port: nobody listens
PROXIES = {
    name: DEAD_PROXY
    for word in ("http_proxy", "https_proxy", "all_proxy")
    for name in (word, word.upper())
}

LIBRARIES, HOSTS = ("httpx", "urllib.request"), ("127.0.0.1", "localhost")
ODD = ("socks5", "socks")  # the second is what GNOME sets


@pytest.fixture
def api():
    class Api(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()

        def do_POST(self):
            self.rfile.read(int(self.headers["content-length"]))
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"[1]")

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Api)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/api"
    server.shutdown()
    server.server_close()


@pytest.mark.slow
def test_a_proxy_in_the_environment_does_not_hide_a_server_of_this_machine(api, monkeypatch):
    for name, value in PROXIES.items():
        monkeypatch.setenv(name, value)
    assert is_healthy(api)
    assert post(f"{api}/x", {}, timeout_s=5) == [1]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("library", "host", "proxy"),
    [
        *((library, host, DEAD_PROXY) for library in LIBRARIES for host in HOSTS),
        *((library, "127.0.0.1", f"{kind}://127.0.0.1:9") for library in LIBRARIES for kind in ODD),
    ],
)
def test_children_of_a_flow_reach_it_too(api, library, host, proxy):
    """Prefect's client is httpx; whatever else a stage starts inherits the environment."""
    get = "httpx.get(url).status_code" if library == "httpx" else "library.urlopen(url).status"
    code = (
        "import os, subprocess, sys, flows\n"
        f"child = 'import sys, {library} as library; httpx = library; url = sys.argv[1];'\n"
        f"child += 'assert {get} == 200'\n"
        "sys.exit(subprocess.run([sys.executable, '-c', child, sys.argv[1]]).returncode)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, api.replace("127.0.0.1", host) + "/health"],
        env=os.environ | dict.fromkeys(PROXIES, proxy) | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_the_hosts_that_the_user_excepts_stay_excepted():
    named = without_proxy({"no_proxy": "lab.example, 10.0.0.1", "http_proxy": DEAD_PROXY})
    assert named["http_proxy"] == DEAD_PROXY
    hosts = [host.strip() for host in named["NO_PROXY"].split(",")]
    assert hosts == ["lab.example", "10.0.0.1", "127.0.0.1", "localhost", "::1"]
    assert named["no_proxy"] == named["NO_PROXY"]


def test_where_the_user_wants_no_proxy_at_all_it_stays_so():
    for name in ("no_proxy", "NO_PROXY"):
        named = without_proxy({name: " * ", "http_proxy": DEAD_PROXY})
        assert (named["no_proxy"], named["NO_PROXY"]) == ("*", "*")


def test_a_proxy_that_prefect_does_not_know_is_named_where_its_server_is_elsewhere():
    odd = {"ALL_PROXY": "socks5://user:secret@lab.example:1080"}
    for url in ("", "http://127.0.0.1:4200/api", "http://[::1]:4200/api"):
        check_proxy(odd | {"PREFECT_API_URL": url})
    far = odd | {"PREFECT_API_URL": "http://prefect.example/api"}
    assert "*" not in without_proxy(far)["NO_PROXY"]
    with pytest.raises(UsageError, match="ALL_PROXY names a socks5 proxy") as caught:
        check_proxy(far)
    assert "secret" not in str(caught.value)


def test_nobody_takes_the_port_of_a_server_that_is_still_starting():
    with listen() as listening, socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with pytest.raises(OSError, match="already in use"):
            other.bind((HOST, port_of(listening)))
        with pytest.raises(OSError, match="already in use"):
            listen(port_of(listening))
