"""Downloads from a server on this machine: whole, checked, refused, continued."""

from collections.abc import Iterator
from urllib.request import HTTPRedirectHandler, Request

import pytest

from avsep.addresses import make_opener
from avsep.downloading import download, download_resumable
from avsep.errors import CheckError, UsageError
from tests.support.file_server import FileServer, serving_files


@pytest.fixture
def server() -> Iterator[FileServer]:
    with serving_files() as made:
        yield made


def test_a_file_arrives_whole_and_its_hash_is_returned(server, tmp_path):
    server.files["a.bin"] = b"abc" * 1000
    sizes = []
    path = tmp_path / "a.bin"
    digest = download(f"{server.base}/a.bin", path, advance=sizes.append)
    assert path.read_bytes() == b"abc" * 1000
    assert sum(sizes) == 3000
    assert len(digest) == 64


@pytest.mark.parametrize(
    ("case", "words"),
    [("missing", "404"), ("short", "broke off"), ("large", "at most"), ("other", "sha256")],
)
def test_a_bad_answer_leaves_nothing(server, tmp_path, case, words):
    server.files["a.bin"] = b"x" * 1000
    server.extra = 5 if case == "short" else 0
    name = "b.bin" if case == "missing" else "a.bin"
    options = {"large": {"max_bytes": 10}, "other": {"sha256": "0" * 64}}.get(case, {})
    with pytest.raises(CheckError, match=words):
        download(f"{server.base}/{name}", tmp_path / "a.bin", **options)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "url", ["http://example.org/a", "file:///etc/passwd", "ftp://127.0.0.1/a", "a.bin"]
)
def test_only_https_and_this_machine_are_allowed(url, tmp_path):
    with pytest.raises(UsageError, match="is not an https address"):
        download(url, tmp_path / "a")


def test_a_server_may_not_redirect_elsewhere(server, tmp_path):
    server.moved["a.bin"] = "http://example.org/a.bin"
    with pytest.raises(CheckError, match="redirects elsewhere"):
        download(f"{server.base}/a.bin", tmp_path / "a")


def test_a_server_that_cannot_continue_sends_the_whole_file_again(server, tmp_path):
    server.files["a.bin"] = b"abc" * 1000
    (tmp_path / "a.bin.download").write_bytes(b"abc" * 100)
    sizes = []
    download_resumable(
        f"{server.base}/a.bin",
        tmp_path / "a.bin",
        label="a.bin",
        opener=make_opener(),
        advance=sizes.append,
    )
    assert (tmp_path / "a.bin").read_bytes() == b"abc" * 1000
    assert sum(sizes) == 3000
    assert [path.name for path in tmp_path.iterdir()] == ["a.bin"]


def test_a_resumable_download_has_a_size_limit_too(server, tmp_path):
    server.files["a.bin"] = b"x" * 1000
    with pytest.raises(CheckError, match=r"^a\.bin has 1000 bytes; at most 10"):
        download_resumable(
            f"{server.base}/a.bin?key=secret",
            tmp_path / "a.bin",
            label="a.bin",
            opener=make_opener(),
            max_bytes=10,
        )
    assert not (tmp_path / "a.bin").exists()


def test_a_file_without_a_certificate_is_refused(tmp_path):
    (tmp_path / "ca.pem").write_text("nothing")
    with pytest.raises(UsageError, match="does not hold a certificate"):
        make_opener(ca_file=tmp_path / "ca.pem")


@pytest.mark.parametrize(
    "there", ["http://127.0.0.1:8080/x", "https://localhost/x", "https://[::1]/x"]
)
def test_a_server_elsewhere_may_not_redirect_to_this_machine(there):
    handler = next(one for one in make_opener().handlers if isinstance(one, HTTPRedirectHandler))
    request = Request("https://example.org/a.bin")
    with pytest.raises(CheckError, match="redirects elsewhere"):
        handler.redirect_request(request, None, 302, "", {}, there)
    assert handler.redirect_request(request, None, 302, "", {}, "https://example.com/a.bin")
