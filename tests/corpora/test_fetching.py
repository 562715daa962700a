"""`avsep fetch` of open corpora from a server on this machine that has the same paths."""

import hashlib
import io
import json
import zipfile
from collections.abc import Iterator

import pytest

from avsep.cli.app import app
from avsep.corpora.fetching.catalogue import fetch
from avsep.corpora.fetching.site import Site
from avsep.errors import CheckError, UsageError
from tests.support import open_corpora
from tests.support.file_server import FileServer, serving_files
from tests.support.open_corpora import GITHUB, GRID, serve_record, zip_of

SPEAKERS = ("s1", "s4", "s5", "s6")
S4 = f"records/{GRID}/files/s4.zip"


@pytest.fixture
def server() -> Iterator[FileServer]:
    with serving_files() as made:
        open_corpora.serve_grid(made, SPEAKERS)
        yield made


@pytest.fixture
def slept() -> list[float]:
    return []


@pytest.fixture
def get(server, tmp_path, slept):
    def run(name="grid", **options):
        site = Site(tmp_path / name, sleep=slept.append, say=said.append)
        return fetch(name, site, servers=(server.base,), **options)

    said: list[str] = []
    run.said = said
    return run


def below(folder) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


def md5(content: bytes) -> str:
    return hashlib.md5(content).hexdigest()


def test_archives_arrive_with_a_list_that_md5sum_reads_and_are_not_asked_for_again(
    server, tmp_path, get
):
    assert get(speakers="s4,s1") == 3
    assert below(tmp_path / "grid") == [
        *(".fetch.lock", "alignments.zip", "md5.txt", "s1.zip", "s4.zip"),
    ]
    lines = (tmp_path / "grid" / "md5.txt").read_text().splitlines()
    assert f"{md5(server.files[S4])}  s4.zip" in lines
    server.asked.clear()
    get(speakers="s4,s1")
    assert server.asked == [f"api/records/{GRID}"]


def test_two_fetches_into_one_folder_at_once_are_one_and_a_sentence(server, tmp_path, get):
    first = Site(tmp_path / "grid")
    first.begin()
    with pytest.raises(CheckError, match=r"another `avsep fetch` is downloading into .*grid; wait"):
        get(speakers="s4")
    assert server.asked == []
    first.end()
    assert get(speakers="s4") == 2
    first.begin()  # nothing is held after the end


def test_a_number_takes_women_and_men_in_turns(server, tmp_path, get):
    get(speakers="2")
    assert {"s4.zip", "s1.zip"} < set(below(tmp_path / "grid"))


def test_a_download_that_was_cut_goes_on_where_it_ended(server, tmp_path, get, slept):
    server.cuts = [S4, S4]
    server.statuses[S4] = [503]
    server.headers[S4] = {"Retry-After": "7"}
    get(speakers="s4")
    assert (tmp_path / "grid" / "s4.zip").read_bytes() == server.files[S4]
    half = len(server.files[S4]) // 2
    assert f"bytes={half}-" in server.ranges_asked
    assert slept == [pytest.approx(7, abs=1)]


def test_a_wrong_checksum_is_refused_and_leaves_nothing(server, tmp_path, get):
    content = bytearray(server.files[S4])
    content[100] ^= 1
    server.files[S4] = bytes(content)
    with pytest.raises(CheckError, match=r"s4\.zip has the MD5 .*, not the published one"):
        get(speakers="s4")
    assert not [name for name in below(tmp_path / "grid") if "s4" in name]


def test_what_is_there_and_wrong_is_named_and_kept(server, tmp_path, get):
    (tmp_path / "grid").mkdir()
    mine = tmp_path / "grid" / "s4.zip"
    mine.write_bytes(b"mine")
    with pytest.raises(CheckError, match=r"s4\.zip has 4 bytes, not the published .* Move"):
        get(speakers="s4")
    assert mine.read_bytes() == b"mine"


def test_without_a_record_the_first_download_is_pinned(server, tmp_path, get):
    del server.files[f"api/records/{GRID}"]
    get(speakers="s4")
    assert "No published checksums" in get.said[0]
    (tmp_path / "grid" / "s4.zip").unlink()
    server.files[S4] = zip_of({"s4/bbaf2n.mpg": b"other"})
    with pytest.raises(CheckError, match="not the recorded one"):
        get(speakers="s4")


def test_the_next_server_is_asked_where_one_fails(server, tmp_path):
    with serving_files() as other:
        open_corpora.serve_grid(other, SPEAKERS)
        del other.files[S4]
        site = Site(tmp_path / "grid", sleep=lambda _s: None)
        fetch("grid", site, servers=(other.base, server.base), speakers="s4")
        assert S4 in other.asked
    assert (tmp_path / "grid" / "s4.zip").read_bytes() == server.files[S4]


@pytest.mark.parametrize("kind", ["text/html", "application/zip"])
def test_a_page_instead_of_an_archive_is_recognised(server, tmp_path, get, kind):
    del server.files[f"api/records/{GRID}"]
    server.files[S4] = b"<!DOCTYPE html><title>Busy</title>"
    server.headers[S4] = {"Content-Type": kind}
    with pytest.raises(CheckError, match=r"a page instead of s4|s4\.zip is not a zip archive"):
        get(speakers="s4")
    assert not (tmp_path / "grid" / "s4.zip").exists()


@pytest.mark.slow
def test_a_redirect_may_lead_to_another_host_but_not_to_an_open_connection(server, tmp_path, get):
    with serving_files() as other:
        other.files["store/s4"] = server.files[S4]
        server.moved[S4] = f"{other.base}/store/s4"
        get(speakers="s4", clips=1)
        get(speakers="s4")
    assert (tmp_path / "grid" / "s4.zip").read_bytes() == server.files[S4]
    for there in ("http://example.org/s1", "file:///etc/passwd", "ftp://127.0.0.1/s1"):
        server.moved[f"records/{GRID}/files/s1.zip"] = there
        for clips in (None, 1):
            with pytest.raises(CheckError, match=r"redirects elsewhere|not allowed"):
                get(speakers="s1", clips=clips)


def test_single_clips_are_downloaded_without_the_rest_of_the_archive(server, tmp_path, get):
    server.files[S4] = big = zip_of(
        {f"s4/{code}.mpg": open_corpora.fake(i, "") * 8 for i, code in enumerate(
            open_corpora.codes("s4", 20))},
    )  # fmt: skip
    serve_record(server, GRID, {"s4.zip": big, "alignments.zip": zip_of({"a": b""})})
    assert get(speakers="s4", clips=3) == 4
    clips = [name for name in below(tmp_path / "grid") if name.endswith(".mpg")]
    assert len(clips) == 3
    spans = [tuple(map(int, r[6:].split("-"))) for r in server.ranges_asked if r]
    assert sum(last - first + 1 for first, last in spans) < 0.5 * len(big)
    with zipfile.ZipFile(io.BytesIO(big)) as archive:
        for name in clips:
            assert (tmp_path / "grid" / name).read_bytes() == archive.read(name)
    server.asked.clear()
    get(speakers="s4", clips=5)
    more = [name for name in below(tmp_path / "grid") if name.endswith(".mpg")]
    assert set(clips) < set(more)
    assert server.asked.count(S4) <= 2 + 2 + 2  # size, listing, and the two new clips


def test_a_damaged_clip_on_the_disk_is_downloaded_again(server, tmp_path, get):
    get(speakers="s4", clips=2)
    path = next((tmp_path / "grid" / "s4").glob("*.mpg"))
    right = path.read_bytes()
    path.write_bytes(bytes(len(right)))
    get(speakers="s4", clips=2)
    assert path.read_bytes() == right


def test_a_cut_range_is_asked_for_again(server, tmp_path, get):
    server.cuts = [S4] * 3
    server.statuses[S4] = [429]
    get(speakers="s4", clips=2)
    assert len(list((tmp_path / "grid" / "s4").glob("*.mpg"))) == 2


def test_a_server_without_ranges_is_refused_before_it_sends_all(server, get):
    server.ranges = False
    with pytest.raises(CheckError, match=r"sends whole files only.*--clips"):
        get(speakers="s4", clips=1)


def test_an_archive_that_changes_on_the_server_is_noticed(server, tmp_path, get):
    get(speakers="s4", clips=1)
    del server.files[f"api/records/{GRID}"]
    server.files[S4] = zip_of({"s4/bbaf2n.mpg": b"other"})
    with pytest.raises(CheckError, match=r"other members.*listings\.json"):
        get(speakers="s4", clips=1)


HOSTILE = (
    "../s4/bbaf2n.mpg", "/s4/bbaf2n.mpg/../../x", "s4/../../bbaf2n.mpg", "s4/./bbaf2n.mpg",
    "s4\\bbaf2n.mpg", "s4/bbaf2n.mpg/x", "s4/bbaf2n.MPG.exe", "s99/bbaf2n.mpg", "s4/bbaw2n.mpg",
)  # fmt: skip


def test_members_with_hostile_names_are_never_written(server, tmp_path, get):
    members = dict.fromkeys(HOSTILE, b"bad") | {"s4/lrwp9a.mpg": b"good" * 100}
    serve_record(server, GRID, {"s4.zip": zip_of(members), "alignments.zip": zip_of({"a": b""})})
    get(speakers="s4", clips=60)
    written = {p.name for p in tmp_path.rglob("*") if p.is_file()}
    assert written >= {"lrwp9a.mpg"}
    assert all(p.read_bytes() != b"bad" for p in tmp_path.rglob("*") if p.is_file())
    assert written == {
        *("lrwp9a.mpg", "alignments.zip", "md5.txt", "listings.json", ".fetch.lock"),
    }


@pytest.mark.slow
def test_a_member_that_is_a_bomb_or_damaged_is_refused(server, tmp_path, get):
    bomb = zip_of({"s4/lrwp9a.mpg": bytes(100 << 20)})
    damaged = bytearray(zip_of({"s4/lrwp9a.mpg": b"good" * 100}, zipfile.ZIP_STORED))
    damaged[60] ^= 255
    for content, words in ((bomb, "at most"), (bytes(damaged), "is damaged")):
        alignments = zip_of({"a": b""})
        serve_record(server, GRID, {"s4.zip": content, "alignments.zip": alignments})
        (tmp_path / "grid" / "listings.json").unlink(missing_ok=True)
        with pytest.raises(CheckError, match=words):
            get(speakers="s4", clips=1)
    assert not list((tmp_path / "grid").rglob("*.mpg"))


def test_lombard_grid_gives_the_clips_of_one_view_with_their_sound(server, tmp_path, get):
    open_corpora.serve_lombard(server, ("s2", "s55"))
    assert get("lombard-grid", clips=2, view="side") == 8
    files = below(tmp_path / "lombard-grid")
    stems = {f[5:-4] for f in files if f.startswith("side/")}
    assert len(stems) == 4
    assert {f[6:-4] for f in files if f.startswith("audio/")} == stems
    assert not [name for name in files if "WRONG" in name]
    with pytest.raises(UsageError, match="add --clips"):
        get("lombard-grid", speakers="3")
    get("lombard-grid")
    assert "lombardgrid_front.zip" in below(tmp_path / "lombard-grid")


def test_crema_d_comes_clip_by_clip_with_the_hash_of_its_pointer(server, tmp_path, get):
    open_corpora.serve_crema_d(server, ("1001", "1002", "1003"))
    assert get("crema-d", speakers="2", clips=2) == 4
    folder = tmp_path / "crema-d" / "VideoFlash"
    assert {p.name[:4] for p in folder.iterdir()} == {"1001", "1002"}
    server.asked.clear()
    get("crema-d", speakers="2", clips=2)
    assert server.asked == []
    path = next(iter(sorted(folder.iterdir())))
    path.write_bytes(b"damaged")
    server.files[f"media/{GITHUB}/VideoFlash/{path.name}"] = bytes(20_001)
    with pytest.raises(CheckError, match=r"sha256|bytes"):
        get("crema-d", speakers="2", clips=2)
    server.files[f"{GITHUB}/VideoFlash/1003_IEO_NEU_XX.flv"] = b"a video, not a pointer"
    with pytest.raises(CheckError, match="pointer"):
        get("crema-d", speakers="1003", clips=60)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"speakers": "34"}, "there are 1 to 33"), ({"speakers": "0"}, "1 to 33"),
        ({"speakers": "s21"}, "names 's21'"), ({"speakers": "s1,"}, "names ''"),
        ({"speakers": "-1"}, "names '-1'"), ({"clips": 0}, "at least 1"),
        ({"view": "top"}, "front or side"),
    ],
)  # fmt: skip
def test_wrong_options_are_one_sentence(get, options, words):
    with pytest.raises(UsageError, match=words):
        get(**options)


@pytest.mark.parametrize(
    "record",
    [b"<html>", b"[]", b'{"files": 3}', b'{"files": [{"key": "s4.zip"}]}', b'{"files": [3]}'],
)
def test_a_record_that_is_none_is_said_and_the_files_are_downloaded(server, tmp_path, get, record):
    server.files[f"api/records/{GRID}"] = record
    get(speakers="s4")
    assert "No published checksums" in get.said[0]


def test_the_list_of_files_of_a_record_is_read_too(server, get):
    record = f"api/records/{GRID}"
    files = json.loads(server.files[record])["files"]
    server.files[record] = json.dumps({"entries": files}).encode()
    get(speakers="s4")
    assert not get.said


def test_the_command_says_the_licence_and_what_comes_next(server, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    arguments = ["fetch", "grid", "--speakers", "s4", "--clips", "2", "--server", server.base]
    app(arguments, standalone_mode=False)
    said = capsys.readouterr().out
    assert "CC-BY-4.0: GRID, Cooke" in said
    assert "avsep profile use grid" in said
    assert len(list((tmp_path / "grid" / "s4").iterdir())) == 2


def test_options_of_one_kind_of_corpus_are_refused_for_the_other(tmp_path):
    for arguments, words in (
        (["fetch"], "needs one --server and --into"),
        (["fetch", "vox2_test_mp4.zip", "--clips", "3"], "need one of grid"),
        (["fetch", "grid", "crema-d"], "one open corpus at a time"),
        (["fetch", "grid", "--server", "http://example.org"], "not an https address"),
    ):
        with pytest.raises(UsageError, match=words):
            app(arguments, standalone_mode=False)
