"""`avsep serve`: a script drives the API; nothing is answered without the token."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
import torch
from starlette.testclient import TestClient

from avsep.errors import UsageError
from avsep.models import checkpoint
from avsep.models.dolphin.config import DolphinConfig
from avsep.models.dolphin.model import Dolphin

from avsep.cli.web import _token  # isort: skip
from avsep.separation import SeparateConfig, Separator
from avsep.web.app import create_app
from tests.support.clip_maker import make_clip
from tests.support.echo import Echo, FixedBackend, noise, still_pictures

TOKEN = "a-token-of-this-test-only"
RIGHT = {"authorization": f"Bearer {TOKEN}"}


@pytest.fixture(scope="module")
def video(tmp_path_factory) -> bytes:
    sound = (noise(19_200) * 32768).astype("int16")[:, None]
    return make_clip(
        tmp_path_factory.mktemp("video") / "talk.mkv", pictures=still_pictures(30), audio=sound,
        audio_codec="pcm_s16le",
    ).read_bytes()  # fmt: skip


@pytest.fixture
def client(tmp_path):
    separator = Separator(Echo(), SeparateConfig(), FixedBackend())
    app = create_app(separator, max_bytes=1 << 20, folder=tmp_path, token=TOKEN)
    with TestClient(app, base_url="http://127.0.0.1") as made:
        yield made


@pytest.mark.parametrize("given", [{}, {"authorization": "Bearer wrong"}, {"x-avsep": "1"},
                                   {"authorization": f"Basic {TOKEN}"}])  # fmt: skip
def test_nothing_is_answered_without_the_token(client, video, given, tmp_path):
    for method, path in [
        ("GET", "/about"), ("POST", "/jobs?name=a.mkv"), ("GET", "/jobs/x"), ("DELETE", "/jobs/x"),
        ("GET", "/jobs/x/tracks.json"), ("GET", "/"), ("GET", "/page.js"), ("GET", "/none"),
    ]:  # fmt: skip
        content = video if method == "POST" else None
        answer = client.request(method, path, headers=given, content=content)
        assert answer.status_code == 401, path
        assert answer.headers["www-authenticate"] == "Bearer"
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
    assert client.get("/about", headers=RIGHT | {"host": "evil.example"}).status_code == 400


def test_the_limits_are_those_of_the_page_and_there_is_no_page(client, video):
    assert client.get("/", headers=RIGHT).status_code == 404
    post = {"headers": RIGHT}
    assert client.post("/jobs?name=a.txt", content=video, **post).status_code == 415
    assert client.post("/jobs?name=a.mkv", content=bytes(2 << 20), **post).status_code == 413
    assert client.get("/jobs/none", **post).status_code == 404


def test_the_description_tells_of_every_route_and_answer(client, video):
    described = client.get("/openapi.json").json()
    routes = {
        (route.path, method.lower())
        for route in client.app.routes
        for method in route.methods - {"HEAD"}
    }
    assert routes == {
        (path, method) for path, methods in described["paths"].items() for method in methods
    }
    schemas = described["components"]["schemas"]
    assert set(client.get("/about", headers=RIGHT).json()) == set(schemas["About"]["required"])
    queued = client.post("/jobs?name=a.mkv", content=video, headers=RIGHT).json()
    assert set(queued) == set(schemas["Queued"]["required"])
    job = client.get(f"/jobs/{queued['job']}", headers=RIGHT).json()
    assert set(job) == set(schemas["Job"]["required"])
    refs = json.dumps(described).count("#/components/schemas/")
    assert refs > 10


def test_a_token_file_is_made_for_its_owner_alone_and_checked(tmp_path):
    path = tmp_path / "token"
    made = _token(path)
    assert len(made) > 40
    assert _token(path) == made
    assert path.stat().st_mode & 0o777 == 0o600
    path.chmod(0o644)
    with pytest.raises(UsageError, match="read by others"):
        _token(path)
    path.chmod(0o600)
    path.write_text("short")
    with pytest.raises(UsageError, match="at least 16"):
        _token(path)
    with pytest.raises(UsageError, match="cannot be written"):
        _token(tmp_path / "none" / "token")


@pytest.mark.slow
def test_a_script_drives_the_command_from_upload_to_removal(tmp_path, video):
    torch.manual_seed(0)
    checkpoint.save(Dolphin(DolphinConfig.demo()), tmp_path / "model", {"family": "dolphin"})
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "avsep", "serve", "--port", str(port), "--weights", "model",
               "--token-file", "token"]  # fmt: skip
    env = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2]), "TMPDIR": str(tmp_path)}
    child = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path, env=env
    )

    def ask(path: str, method: str = "GET", body: bytes | None = None) -> bytes:
        token = (tmp_path / "token").read_text().strip()
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}{path}", body, {"Authorization": f"Bearer {token}"},
            method=method,
        )  # fmt: skip
        return urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request).read()

    try:
        for _ in range(900):
            with socket.socket() as server:
                if child.poll() is not None or server.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.1)
        job = json.loads(ask("/jobs?name=talk.mkv", "POST", video))["job"]
        for _ in range(900):
            values = json.loads(ask(f"/jobs/{job}"))
            if values["state"] in ("done", "failed"):
                break
            time.sleep(0.1)
        # The pictures of this clip show no face: what the real detector says of it is the answer.
        assert values["state"] == "failed"
        assert "no face is visible" in values["message"]
        ask(f"/jobs/{job}", "DELETE")
        with pytest.raises(urllib.error.HTTPError, match="404"):
            ask(f"/jobs/{job}")
    finally:
        child.send_signal(signal.SIGTERM)
        out, err = child.communicate(timeout=60)
    assert f"http://127.0.0.1:{port}" in out
    assert (tmp_path / "token").read_text().strip() not in out + err


@pytest.mark.slow
def test_a_script_gets_the_voices(client, video):
    job = client.post("/jobs?name=talk.mkv", content=video, headers=RIGHT).json()["job"]
    for _ in range(600):
        values = client.get(f"/jobs/{job}", headers=RIGHT).json()
        if values["state"] in ("done", "failed"):
            break
        time.sleep(0.1)
    assert values["state"] == "done", values
    for name in values["facts"]["files"]:
        found = client.get(f"/jobs/{job}/{name}", headers=RIGHT)
        assert found.status_code == 200
        assert found.content
    assert client.delete(f"/jobs/{job}", headers=RIGHT).status_code == 204
    assert client.get(f"/jobs/{job}", headers=RIGHT).status_code == 404
