"""The requests of the page: limits, errors, results, and that files go away."""

from __future__ import annotations

import errno
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from avsep.models import checkpoint
from avsep.models.dolphin.config import DolphinConfig
from avsep.models.dolphin.model import Dolphin
from avsep.separation import SeparateConfig, Separator
from avsep.web.app import create_app
from avsep.web.jobs import KEEP_S, Job, Jobs
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


@pytest.mark.slow
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
    assert not list(tmp_path.rglob("*.mkv"))  # not needed any more
    assert client.get(f"/jobs/{job}/tracks.json").json()["source"] == "my talk.mkv"
    assert client.delete(f"/jobs/{job}").status_code == 403
    assert client.delete(f"/jobs/{job}", headers=OWN).status_code == 204
    assert client.get(f"/jobs/{job}").status_code == 404
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_a_file_that_is_not_a_video_is_one_sentence(client):
    job = client.post("/jobs?name=a.mp4", content=b"nonsense", headers=OWN).json()["job"]
    values = wait(client, job)
    assert values["state"] == "failed"
    assert values["message"].endswith(".")
    assert "a.mp4" in values["message"]
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
@pytest.mark.slow
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


def silent_clip(tmp_path) -> bytes:
    return make_clip(tmp_path / "mute.mkv", pictures=still_pictures(30)).read_bytes()


@pytest.mark.parametrize(
    "name",
    [
        "Anna & Bob (final).mkv",
        "\u00fcber \u6f22\u5b57.mkv",
        "a%03d.mkv",
        "-i.mkv",
        "..mkv",
        "tab\tand\nline.mkv",
        "x" * 190 + ".mkv",
        "\u6f22" * 190 + ".mkv",
        "UPPER.MKV",
    ],
    ids=range(9),
)
def test_any_name_is_taken_and_an_error_names_the_uploaded_file(client, tmp_path, name):
    content = silent_clip(tmp_path)
    answer = client.post("/jobs", params={"name": name}, content=content, headers=OWN)
    assert answer.status_code == 201, answer.text
    values = wait(client, answer.json()["job"])
    assert values["state"] == "failed"
    assert "has no sound" in values["message"]
    begin = name.removesuffix(".mkv").removesuffix(".MKV").partition("\t")[0]
    assert begin[:40] in values["message"]
    assert "video.mkv" not in values["message"]


@pytest.mark.parametrize(
    ("name", "size", "code"), [("notes.txt", 10, 415), ("big.mp4", (1 << 20) + 1, 413)]
)
def test_a_refusal_names_the_uploaded_file(client, name, size, code):
    answer = client.post(f"/jobs?name={name}", content=b"0" * size, headers=OWN)
    assert (answer.status_code, name in answer.json()["message"]) == (code, True)


@pytest.mark.slow
def test_a_full_disk_is_said_before_and_while_a_video_arrives(client, video, monkeypatch, tmp_path):
    def full(*_arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Jobs, "free_bytes", lambda _jobs: 10)
        answer = client.post("/jobs?name=a.mkv", content=video, headers=OWN)
    assert (answer.status_code, "a.mkv does not fit" in answer.json()["message"]) == (507, True)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", full)
        answer = client.post("/jobs?name=a.mkv", content=video, headers=OWN)
    assert (answer.status_code, "disk" in answer.json()["message"]) == (507, True)
    with monkeypatch.context() as patch:
        patch.setattr("avsep.web.jobs.write_spectrogram", full)
        job = client.post("/jobs?name=a.mkv", content=video, headers=OWN).json()["job"]
        values = wait(client, job)
    assert values["state"] == "failed"
    assert "disk of this machine is full" in values["message"]
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]  # the room is given back


@pytest.mark.slow
def test_a_waiting_video_knows_its_position_and_a_running_one_its_share(tmp_path, video):
    separator = Separator(Echo(), SeparateConfig(), FixedBackend())
    go, seen = threading.Event(), []
    separate = separator.separate

    def held(path, output, progress):
        assert go.wait(60)

        @contextmanager
        def noting(title, total):
            with progress(title, total) as advance:

                def note(count):
                    advance(count)
                    seen.append(jobs.get(names[0]).share)

                yield note

        return separate(path, output, noting)

    separator.separate = held
    jobs = Jobs(separator, tmp_path)
    made = []
    for number in range(3):
        job = jobs.new(f"{number}.mkv")
        job.video.write_bytes(video)
        jobs.start(job)
        made.append(job)
    names = [job.name for job in made]
    until(lambda: made[0].state == "running")
    assert [jobs.ahead(job) for job in made] == [0, 1, 2]
    jobs.remove(made[1])
    assert jobs.ahead(made[2]) == 1
    assert made[0].left_s is None
    go.set()
    until(lambda: made[0].state == "done")
    assert seen == sorted(seen)
    assert 0 < seen[0] < 0.1
    assert seen[-1] == pytest.approx(1.0)
    jobs.close()


def test_the_time_left_follows_the_share(tmp_path):
    job = Job("name", "a.mkv", tmp_path, state="running", share=0.25)
    job.started = time.monotonic() - 10
    assert job.left_s == pytest.approx(30, abs=1)


@pytest.mark.slow
def test_files_go_after_the_promised_time_although_nobody_uploads(tmp_path, video, monkeypatch):
    monkeypatch.setattr("avsep.web.jobs.SWEEP_S", 0.05)
    jobs = Jobs(Separator(Echo(), SeparateConfig(), FixedBackend()), tmp_path)
    ready, sending = jobs.new("a.mkv"), jobs.new("b.mkv")
    ready.video.write_bytes(video)
    jobs.start(ready)
    until(lambda: ready.state == "done")
    time.sleep(0.3)
    assert ready.folder.is_dir()
    assert sending.folder.is_dir()
    for job in (ready, sending):  # a sender that went away without a word, too
        job.touched -= KEEP_S + 1
    until(lambda: not ready.folder.exists() and not sending.folder.exists())
    jobs.close()


def test_the_page_is_told_when_a_voice_is_silent_and_how_long_files_stay(client):
    about = client.get("/about").json()
    assert about["silent_after_s"] == pytest.approx(0.75)
    assert about["keep_s"] == KEEP_S


def until(holds) -> None:
    for _ in range(600):
        if holds():
            return
        time.sleep(0.1)
    raise AssertionError("it does not happen")


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_the_command_in_order_and_its_files_go(tmp_path, number):
    checkpoint.save(Dolphin(DolphinConfig.demo()), tmp_path / "model", {"family": "dolphin"})
    files = tmp_path / "files"
    files.mkdir()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    command = [sys.executable, "-m", "avsep", "web", "--port", port, "--weights", "model"]
    child = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2]), "TMPDIR": str(files)},
    )
    for _ in range(600):
        with socket.socket() as page:
            if child.poll() is not None or page.connect_ex(("127.0.0.1", int(port))) == 0:
                break
        time.sleep(0.1)
    assert list(files.glob("avsep-web-*"))
    child.send_signal(number)
    _, err = child.communicate(timeout=60)
    assert (child.returncode, err) == (128 + number, "avsep: interrupted.\n")
    assert not list(files.glob("avsep-web-*"))
