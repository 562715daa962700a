"""Downloads from a server on this machine: whole, checked, refused, continued."""

from collections.abc import Iterator
from urllib.request import HTTPRedirectHandler, Request

import pytest

from avsep.addresses import make_opener
from avsep.downloading import download, download_resumable
from avsep.errors import CheckError, UsageError
from avsep.file_lock import locked
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


OLD, NEW = b"old-" * 500, b"new!" * 500
TAGS = (
    ({"ETag": '"1"'}, {"ETag": '"2"'}),
    ({"ETag": 'W/"1"'}, {"ETag": 'W/"2"'}),
    ({"Last-Modified": "Sat, 28 Nov 2026 10:00:00 GMT"},
     {"Last-Modified": "Sun, 29 Nov 2026 10:00:00 GMT"}),
)  # fmt: skip


def resume(server, path, count=lambda _bytes: None):
    download_resumable(
        f"{server.base}/a.bin", path, label="a.bin", opener=make_opener(), advance=count
    )


def interrupted(server, path, headers) -> None:
    """Half of the old file arrives; then the server refuses."""
    server.files["a.bin"], server.headers["a.bin"] = OLD, headers
    server.cuts, server.statuses["a.bin"] = ["a.bin"], [0, 403]
    with pytest.raises(CheckError, match="HTTP 403"):
        resume(server, path)
    assert path.with_name("a.bin.download").read_bytes() == OLD[: len(OLD) // 2]


@pytest.mark.parametrize("heeds", [True, False])
@pytest.mark.parametrize(("before", "now"), TAGS)
def test_a_file_that_changed_on_the_server_is_downloaded_from_its_beginning(
    server, tmp_path, before, now, heeds
):
    path, counted = tmp_path / "a.bin", []
    interrupted(server, path, before)
    server.files["a.bin"], server.headers["a.bin"], server.conditions = NEW, now, heeds
    resume(server, path, counted.append)
    assert path.read_bytes() == NEW
    assert sum(counted) == len(NEW)
    assert [one.name for one in tmp_path.iterdir()] == ["a.bin"]


@pytest.mark.parametrize("before", [tags[0] for tags in TAGS])
def test_a_file_that_is_the_same_goes_on(server, tmp_path, before):
    path = tmp_path / "a.bin"
    interrupted(server, path, before)
    server.ranges_asked.clear()
    resume(server, path)
    assert path.read_bytes() == OLD
    assert server.ranges_asked == [f"bytes={len(OLD) // 2}-"]
    weak = before.get("ETag", "").startswith("W/")
    assert server.conditions_asked[-1] == ("" if weak else next(iter(before.values())))


@pytest.mark.parametrize("now", [NEW[:-4], NEW[:400], NEW[: len(OLD) // 2]])
def test_without_tags_another_size_says_that_a_file_has_changed(server, tmp_path, now):
    path = tmp_path / "a.bin"
    interrupted(server, path, {})
    server.files["a.bin"] = now
    resume(server, path)
    assert path.read_bytes() == now


def test_what_one_server_began_another_goes_on_with_whatever_its_tags_are(server, tmp_path):
    path = tmp_path / "a.bin"
    interrupted(server, path, {"ETag": '"1"'})
    with serving_files() as other:
        other.files["a.bin"], other.headers["a.bin"] = OLD, {"ETag": '"abc"'}
        resume(other, path)
        assert other.ranges_asked == [f"bytes={len(OLD) // 2}-"]
        assert other.conditions_asked == [""]
    assert path.read_bytes() == OLD


@pytest.mark.parametrize("record", ["", "[]", "{", '{"server": 3}'])
def test_a_damaged_record_of_the_version_is_as_none(server, tmp_path, record):
    path = tmp_path / "a.bin"
    interrupted(server, path, {"ETag": '"1"'})
    (tmp_path / "a.bin.download.json").write_text(record)
    resume(server, path)
    assert path.read_bytes() == OLD


def test_a_file_is_downloaded_by_one_process_at_a_time(server, tmp_path):
    server.files["a.bin"] = OLD
    path = tmp_path / "a.bin"
    with (
        locked(tmp_path / "a.bin.download", "held"),
        pytest.raises(CheckError, match=r"another process is downloading a\.bin"),
    ):
        resume(server, path)
    assert server.asked == []
    resume(server, path)
    assert path.read_bytes() == OLD


def test_a_refused_download_leaves_nothing(server, tmp_path):
    with pytest.raises(CheckError, match="404"):
        resume(server, tmp_path / "a.bin")
    assert not list(tmp_path.iterdir())


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
