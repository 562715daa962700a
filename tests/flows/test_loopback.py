"""Loopback never goes through a proxy, which most labs have in the environment."""

import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from flows.loopback import is_healthy, post, without_proxy

ROOT = Path(__file__).parents[2]
DEAD_PROXY = "http://127.0.0.1:9"  # the discard port: nobody listens
PROXIES = {
    name: DEAD_PROXY
    for word in ("http_proxy", "https_proxy", "all_proxy")
    for name in (word, word.upper())
}


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


def test_a_proxy_in_the_environment_does_not_hide_a_server_of_this_machine(api, monkeypatch):
    for name, value in PROXIES.items():
        monkeypatch.setenv(name, value)
    assert is_healthy(api)
    assert post(f"{api}/x", {}, timeout_s=5) == [1]


@pytest.mark.parametrize("library", ["httpx", "urllib.request"])
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_children_of_a_flow_reach_it_too(api, library, host):
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
        env=os.environ | PROXIES | {"PYTHONPATH": str(ROOT)},
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
