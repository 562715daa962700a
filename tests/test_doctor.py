import pytest
import yaml

from avsep.workspace import Workspace
from pipeline import doctor
from pipeline.config import load_configs
from pipeline.doctor import examine


def lines(root, values=None) -> dict[str, str]:
    (root / "params.yaml").write_text(yaml.safe_dump(values or {}))
    config = load_configs(root / "params.yaml")
    return {line.name: f"{line.state} {line.detail}" for line in examine(Workspace(root), config)}


def test_the_demo_runs_here_and_each_thing_has_one_line(tmp_path):
    found = lines(tmp_path)
    assert not [name for name, text in found.items() if text.startswith("missing")]
    assert {
        "ffmpeg",
        "packages",
        "js runtime",
        "yt solver",
        "disk",
        "gpu",
        "weights",
        "libegl",
        "corpus",
    } == set(found)


def test_what_the_settings_need_and_the_machine_lacks_is_missing_not_absent(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("FFMPEG_BINARY", "no-such-ffmpeg")
    assert lines(tmp_path)["js runtime"].startswith("absent")
    values = {
        "download": {
            "corpus": "voxceleb2",
            "voxceleb2": {"root": "nowhere", "route": "youtube"},
            "youtube": {"allowed": True},
        },
        "extract": {"backend": "imported", "backend_options": {"root": "nowhere"}},
    }
    monkeypatch.setattr(
        "socket.create_connection", lambda *_: (_ for _ in ()).throw(OSError("off"))
    )
    found = lines(tmp_path, values)
    for name in ("js runtime", "ffmpeg", "corpus", "weights", "server"):
        assert found[name].startswith("missing"), name
    assert found["yt solver"].startswith("ok yt-dlp-ejs")
    monkeypatch.setattr("yt_dlp.dependencies.yt_dlp_ejs", None)
    solver = lines(tmp_path, values)["yt solver"]
    assert solver.startswith("missing")
    assert "pip install yt-dlp-ejs==" in solver
    assert "no-such-ffmpeg" in found["ffmpeg"]


def test_a_package_that_the_engine_needs_is_named(tmp_path, monkeypatch):
    values = {"extract": {"backend_options": {"engine": "openvino"}}}
    monkeypatch.setattr(doctor, "find_spec", lambda name: None if name == "openvino" else name)
    assert "openvino (the engine openvino)" in lines(tmp_path, values)["packages"]
    assert lines(tmp_path)["packages"].startswith("ok")


@pytest.mark.parametrize("address", ["http://127.0.0.1:9/api", "http://127.0.0.1:1"])
def test_a_server_that_is_set_and_does_not_answer_is_missing(tmp_path, monkeypatch, address):
    monkeypatch.setenv("PREFECT_API_URL", address)
    assert lines(tmp_path)["server"].startswith("missing 127.0.0.1")
