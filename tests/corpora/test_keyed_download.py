import hashlib
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import pytest

from avsep.cli.app import app
from avsep.corpora.keyed_download import KEY_VARIABLE, KeyedServer
from avsep.errors import CheckError, UsageError

CONTENT = hashlib.sha256(b"x").digest() * 5000
KEY = "my-very-own-key"


class _Handler(BaseHTTPRequestHandler):
    def log_message(self, *_args) -> None:
        pass

    def do_GET(self) -> None:
        state = self.server.state
        query = parse_qs(urlsplit(self.path).query)
        state["asked"].append((query["file"][0], self.headers.get("Range")))
        answer = state["answers"].pop(0) if state["answers"] else 200
        if query["key"] != [KEY]:
            answer = 403
        if answer == "elsewhere":
            self.send_response(302)
            self.send_header("Location", f"http://127.0.0.2:1/?{urlsplit(self.path).query}")
            self.end_headers()
            return
        if isinstance(answer, int) and answer != 200:
            self.send_error(answer)
            return
        first = 0
        if found := re.match(r"bytes=(\d+)-", self.headers.get("Range", "")):
            first = int(found[1])
        self.send_response(206 if first else 200)
        if first:
            self.send_header("Content-Range", f"bytes {first}-{len(CONTENT) - 1}/{len(CONTENT)}")
        self.send_header("Content-Type", "text/html" if answer == "page" else "application/zip")
        self.send_header("Content-Length", str(len(CONTENT) - first))
        self.end_headers()
        body = CONTENT[first:]
        self.wfile.write(body[: len(body) // 2] if answer == "cut" else body)


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv(KEY_VARIABLE, KEY)
    http = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    http.daemon_threads = True
    http.state = {"asked": [], "answers": []}
    threading.Thread(target=http.serve_forever, args=(0.02,), daemon=True).start()
    yield http
    http.shutdown()
    http.server_close()


def fetch(server, folder, name="vox2_test_mp4.zip"):
    slept = []
    address = f"http://127.0.0.1:{server.server_port}/download"
    keyed = KeyedServer(address, sleep=slept.append)
    return keyed.download(name, folder, lambda _: None).read_bytes(), slept


def test_a_broken_download_continues_where_it_ended(server, tmp_path):
    server.state["answers"] = ["cut", "cut", 503]
    content, slept = fetch(server, tmp_path)
    assert content == CONTENT
    half, more = len(CONTENT) // 2, len(CONTENT) * 3 // 4
    ranges = [wanted for _, wanted in server.state["asked"]]
    assert ranges == [None, f"bytes={half}-", f"bytes={more}-", f"bytes={more}-"]
    assert len(slept) == 1  # only where nothing arrived
    assert [p.name for p in tmp_path.iterdir()] == ["vox2_test_mp4.zip"]
    fetch(server, tmp_path)
    assert len(ranges) == len(server.state["asked"])  # a file that is there is not asked for


def test_a_final_error_is_one_sentence_without_the_key(server, tmp_path, monkeypatch):
    for answers, sentence in [
        ([404], "does not have vox2_test_mp4.zip"), (["page"], "answered with a page"),
        (["elsewhere"], "must not get the key"), ([503] * 9, "in 6 tries"),
        ([401], "is the key valid"),
    ]:  # fmt: skip
        server.state["answers"] = answers
        with pytest.raises(CheckError, match=sentence) as caught:
            fetch(server, tmp_path)
        chain, error = "", caught.value
        while error is not None:
            chain, error = chain + str(error), error.__cause__
        assert KEY not in chain
    monkeypatch.setenv(KEY_VARIABLE, "")
    with pytest.raises(UsageError, match="AVSEP_VOXCELEB_KEY is empty"):
        fetch(server, tmp_path)


@pytest.mark.parametrize(
    "address", ["http://example.org/download", "https://example.org/d?key=1", "ftp://127.0.0.1/"]
)
def test_an_address_that_would_leak_the_key_is_refused(address):
    with pytest.raises(UsageError):
        KeyedServer(address)


def test_unsafe_names_are_refused(server, tmp_path):
    for name in ("../x.zip", "", "a/b", ".hidden"):
        with pytest.raises(UsageError, match="is not the name of an archive"):
            fetch(server, tmp_path, name)


def test_the_command_downloads_and_prints_the_paths_without_the_key(server, tmp_path, capsys):
    address = f"http://127.0.0.1:{server.server_port}/download"
    arguments = ["fetch", "a.zip", "b.zip", "--server", address, "--into", str(tmp_path)]
    app(arguments, standalone_mode=False)
    said = "".join(capsys.readouterr())
    assert f"{tmp_path / 'b.zip'}" in said
    assert KEY not in said
