"""The requests of the page: limits, errors, results, and that files go away."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from avsep.separation import SeparateConfig, Separator
from avsep.web.app import create_app
from avsep.web.jobs import Jobs
from tests.support.clip_maker import make_clip
from tests.support.echo import Echo, FixedBackend, noise, still_pictures

OWN = {"x-avsep": "1"}


@pytest.fixture(scope="module")
def video(tmp_path_factory) -> bytes:
    sound = (noise(19_200) * 32768).astype("int16")[:, None]
    path = make_clip(
        tmp_path_factory.mktemp("video") / "talk.mkv",
        pictures=still_pictures(30),
        audio=sound,
        audio_codec="pcm_s16le",
    )
    return path.read_bytes()


@pytest.fixture
def client(tmp_path):
    separator = Separator(Echo(), SeparateConfig(), FixedBackend())
    app = create_app(separator, max_bytes=1 << 20, note="a note", folder=tmp_path)
    with TestClient(app, base_url="http://127.0.0.1") as made:
        yield made


def wait(client, job: str) -> dict:
    for _ in range(600):
        values = client.get(f"/jobs/{job}").json()
        if values["state"] in ("done", "failed"):
            return values
        time.sleep(0.1)
    raise AssertionError(values)


def test_a_video_becomes_voices_and_all_of_it_can_be_removed(client, video, tmp_path):
    answer = client.post("/jobs?name=my talk.mkv", content=video, headers=OWN)
    assert answer.status_code == 201
    job = answer.json()["job"]
    values = wait(client, job)
    assert values["state"] == "done", values
    assert values["title"] == "my talk.mkv"
    assert [s["speaker"] for s in values["facts"]["speakers"]] == [1]
    kinds = {
        "overview.mp4": "video/mp4",
        "speaker1.mp4": "video/mp4",
        "speaker1.wav": "audio/",
        "speaker1.png": "image/png",
        "tracks.json": "application/json",
    }
    for name, kind in kinds.items():
        found = client.get(f"/jobs/{job}/{name}")
        assert found.status_code == 200, name
        assert found.headers["content-type"].startswith(kind)
    part = client.get(f"/jobs/{job}/speaker1.wav", headers={"range": "bytes=0-3"})
    assert (part.status_code, part.content) == (206, b"RIFF")
    assert not list(tmp_path.rglob("video.mkv"))  # not needed any more
    assert client.delete(f"/jobs/{job}").status_code == 403
    assert client.delete(f"/jobs/{job}", headers=OWN).status_code == 204
    assert client.get(f"/jobs/{job}").status_code == 404
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_a_file_that_is_not_a_video_is_one_sentence(client):
    job = client.post("/jobs?name=a.mp4", content=b"nonsense", headers=OWN).json()["job"]
    values = wait(client, job)
    assert values["state"] == "failed"
    assert values["message"].endswith(".")
    assert "Traceback" not in json.dumps(values)


@pytest.mark.parametrize(
    ("name", "size", "headers", "code"),
    [
        ("a.exe", 10, OWN, 415),
        ("", 10, OWN, 415),
        ("a.mp4", (1 << 20) + 1, OWN, 413),
        ("a.mp4", 10, {}, 403),
    ],
)
def test_a_bad_upload_is_refused(client, name, size, headers, code, tmp_path):
    answer = client.post(f"/jobs?name={name}", content=b"0" * size, headers=headers)
    assert answer.status_code == code
    assert answer.json()["message"].endswith(".")
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_an_upload_without_a_length_is_limited_too(client, tmp_path):
    chunks = (b"0" * 65_536 for _ in range(40))
    answer = client.post("/jobs?name=a.mp4", content=chunks, headers=OWN)
    assert answer.status_code == 413
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


@pytest.mark.parametrize("name", ["..%2f..%2fetc%2fpasswd", "video.mkv", "speaker9.wav", "work"])
def test_only_results_are_served(client, video, name):
    job = client.post("/jobs?name=a.mkv", content=video, headers=OWN).json()["job"]
    wait(client, job)
    assert client.get(f"/jobs/{job}/{name}").status_code == 404


def test_pages_carry_a_policy_and_foreign_hosts_are_refused(client):
    answer = client.get("/")
    assert answer.status_code == 200
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert client.get("/page.js").status_code == 200
    assert client.get("/app.py").status_code == 404
    assert client.get("/", headers={"host": "evil.example"}).status_code == 400
    assert client.get("/about").json()["note"] == "a note"


def test_files_nobody_asks_about_are_removed_and_all_at_the_end(tmp_path, video):
    jobs = Jobs(Separator(Echo(), SeparateConfig(), FixedBackend()), tmp_path)
    job = jobs.new("a.mkv")
    job.video.write_bytes(video)
    jobs.start(job)
    for _ in range(600):
        if job.state == "done":
            break
        time.sleep(0.1)
    assert job.output.is_dir()
    jobs.sweep(keep_s=0.0)
    assert not job.folder.exists()
    jobs.new("b.mkv")
    jobs.close()
    assert not list(Path(tmp_path).iterdir())
