"""Weights by name: listed, fetched from a server on this machine, checked, refused."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from avsep.cli.app import main
from avsep.errors import CheckError, UsageError
from avsep.models import checkpoint, released
from avsep.models.dolphin import Dolphin, DolphinConfig
from avsep.weights.fetch import fetch
from avsep.weights.store import find, get, installed


class Files(HTTPServer):
    """Serves some bytes by name; `promise` is added to the length that is told."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {}
        self.moved: dict[str, str] = {}
        self.promise = 0
        self.asked: list[str] = []

    @property
    def base(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        server = self.server
        name = self.path.lstrip("/")
        server.asked.append(name)
        if name in server.moved:
            self.send_response(302)
            self.send_header("Location", server.moved[name])
            self.end_headers()
            return
        content = server.files.get(name)
        self.send_response(200 if content is not None else 404)
        self.send_header("Content-Length", str(len(content or b"") + server.promise))
        self.end_headers()
        self.wfile.write(content or b"")

    def log_message(self, *_args) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Files]:
    made = Files()
    thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield made
    made.shutdown()
    thread.join()
    made.server_close()


@pytest.fixture
def importer(monkeypatch):
    """A conversion that takes any file: the real one is tested with the models."""

    def convert(_source, out, **_options):
        model = Dolphin(DolphinConfig.demo())
        described = released._described("model", _source)
        card = {"family": "dolphin", "licence": "none", "source": [described]}
        return checkpoint.save_file(model, out, card)

    monkeypatch.setattr(released, "import_dolphin", convert)


def test_a_file_comes_whole_and_its_hash_is_told(server, tmp_path):
    server.files["a.bin"] = b"abc" * 1000
    sizes = []
    path = tmp_path / "a.bin"
    digest = fetch(f"{server.base}/a.bin", path, advance=sizes.append)
    assert path.read_bytes() == b"abc" * 1000
    assert sum(sizes) == 3000
    assert len(digest) == 64


@pytest.mark.parametrize(
    ("case", "words"),
    [("missing", "404"), ("short", "broke off"), ("large", "at most"), ("other", "sha256")],
)
def test_a_bad_answer_leaves_nothing(server, tmp_path, case, words):
    server.files["a.bin"] = b"x" * 1000
    server.promise = 5 if case == "short" else 0
    name = "b.bin" if case == "missing" else "a.bin"
    options = {"large": {"max_bytes": 10}, "other": {"sha256": "0" * 64}}.get(case, {})
    with pytest.raises(CheckError, match=words):
        fetch(f"{server.base}/{name}", tmp_path / "a.bin", **options)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "url", ["http://example.org/a", "file:///etc/passwd", "ftp://127.0.0.1/a", "a.bin"]
)
def test_only_https_and_this_machine_are_asked(url, tmp_path):
    with pytest.raises(UsageError, match="no https address"):
        fetch(url, tmp_path / "a")


def test_a_server_may_not_lead_elsewhere(server, tmp_path):
    server.moved["a.bin"] = "http://example.org/a.bin"
    with pytest.raises(CheckError, match="leads elsewhere"):
        fetch(f"{server.base}/a.bin", tmp_path / "a")


def test_fetched_weights_are_found_and_a_changed_file_is_refused(server, tmp_path, importer):
    store, root = tmp_path / "store", tmp_path / "project"
    server.files["model.safetensors"] = b"first"
    made = get("dolphin", store, base=server.base)
    assert made.path == store / "dolphin.safetensors"
    assert find("dolphin", root, store).path == made.path
    assert [weights.kind for weights in installed(root, store)] == ["released"]
    assert checkpoint.load(made.path).card["source"][0]["sha256"]
    server.files["model.safetensors"] = b"second"
    with pytest.raises(CheckError, match="sha256"):
        get("dolphin", store, base=server.base)
    assert sorted(p.name for p in store.iterdir()) == [
        *("dolphin.json", "dolphin.safetensors", "sources.json"),
    ]


def test_weights_of_the_project_go_before_released_ones(server, tmp_path, importer):
    server.files["model.safetensors"] = b"first"
    get("dolphin", tmp_path / "store", base=server.base)
    run = tmp_path / "data" / "runs" / "dolphin"
    checkpoint.save(Dolphin(DolphinConfig.demo()), run, {"family": "dolphin"})
    assert find("dolphin", tmp_path, tmp_path / "store").kind == "trained"
    assert find("vovit", tmp_path, tmp_path / "store") is None


@pytest.fixture
def avsep(monkeypatch, capsys, tmp_path):
    def run(*words: str) -> tuple[int, str, str]:
        monkeypatch.setenv("AVSEP_WEIGHTS", str(tmp_path / "store"))
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", ["avsep", "weights", *words])
        with pytest.raises(SystemExit) as ended:
            main()
        return (int(ended.value.code or 0), *capsys.readouterr())

    return run


def test_nothing_is_fetched_without_consent(avsep, server, importer, monkeypatch):
    monkeypatch.setattr("sys.stdin", open("/dev/null"))  # noqa: PTH123, SIM115
    code, _, err = avsep("get", "dolphin", "--from", server.base)
    assert code == 2
    assert "--yes" in err
    assert "AV-HuBERT" in err  # the terms were shown
    assert server.asked == []


def test_get_with_consent_and_list(avsep, server, importer):
    server.files["model.safetensors"] = b"first"
    code, out, err = avsep("get", "dolphin", "--yes", "--from", server.base)
    assert code == 0, err
    assert "sha256" in out
    code, out, _ = avsep("list")
    assert code == 0
    assert "released" in out
    assert "to fetch" in out


def test_an_unknown_name_is_named(avsep):
    code, _, err = avsep("get", "orca", "--yes")
    assert (code, "orca" in err) == (2, True)
