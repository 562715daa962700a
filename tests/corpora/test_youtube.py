import logging
import tempfile
import tomllib
from functools import lru_cache
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from packaging.requirements import Requirement

from avsep.corpora.config import VoxCeleb2Config
from avsep.corpora.youtube import session, ytdlp
from avsep.corpora.youtube.config import COOKIES_VARIABLE, YouTubeConfig
from avsep.corpora.youtube.cut import square
from avsep.corpora.youtube.messages import Failure
from avsep.corpora.youtube.ytdlp import watch_address
from avsep.errors import CheckError, Reason, State, UsageError
from avsep.media.decode import read_audio, read_frames
from avsep.schema import RawClip
from avsep.tables import read_rows
from avsep.workspace import Workspace
from pipeline.execution.ledger import Ledger
from pipeline.execution.markers import clear_failures
from pipeline.stages.download import DownloadConfig
from tests.support.clip_maker import (
    click_audio,
    click_time,
    make_clip,
    numbered_pictures,
    numbers_of,
)
from tests.support.miniature import vox2_annotation, write_meta
from tests.support.stage_run import run_stage
from tests.support.video_server import serving

A, B, C, D = "-aaaaaaaaaa", "_bbbbbbbbb-", "CCCCCCCCCCC", "ccccccccccc"
WHOLE = (0.0, 0.0, 1.0, 1.0)
QUICK = YouTubeConfig(
    allowed=True, sleep_s=(0, 0), retry_delay_s=0, pause_s=0.05, rate_limit_mb_s=1000,
    box_scale=1, size=64, tries=3,
)  # fmt: skip


@lru_cache
def video_bytes(frames: int = 60, sound: bool = True) -> bytes:
    """Pictures that carry their number, and a click at 1 s."""
    with tempfile.TemporaryDirectory() as folder:
        audio = click_audio(frames / 25, 1.0, 16_000) if sound else None
        path = make_clip(Path(folder) / "v.mp4", pictures=numbered_pictures(frames), audio=audio)
        return path.read_bytes()


@pytest.fixture
def server(monkeypatch):
    with serving() as state:
        monkeypatch.setattr(session, "SITE", state.site)
        yield state


@pytest.fixture
def workspace(tmp_path):
    return Workspace(tmp_path / "project")


@pytest.fixture
def copy(tmp_path):
    """Annotations of one utterance each of A, B, C and D."""
    root = tmp_path / "copy"
    write_meta(root)
    for video in (A, B, C, D):
        annotate(root, video)
    return root


def annotate(root, video, utterance="00001", **annotation) -> None:
    path = root / "txt" / "id00012" / video / f"{utterance}.txt"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        vox2_annotation("id00012", video, **{"first": 10, "count": 30, "box": WHOLE, **annotation})
    )


def of(root, share=0.0, **settings) -> DownloadConfig:
    quick = YouTubeConfig(**(vars(QUICK) | settings))
    return DownloadConfig(
        corpus="voxceleb2", workers=0, max_failed_share=share, youtube=quick,
        voxceleb2=VoxCeleb2Config(root=str(root), route="youtube"),
    )  # fmt: skip


def states(workspace) -> dict[str, str]:
    found = Ledger(workspace.ledger).sources("download")
    return {video: str(row.reason or row.state) for video, row in found.items()}


@pytest.mark.slow
def test_clips_are_cut_to_the_frame_and_the_sample(server, workspace, copy):
    server.videos = dict.fromkeys((A, B, C, D), video_bytes())
    annotate(copy, A, "00002", first=20, count=30)  # overlaps with the first
    run_stage("download", workspace, config=of(copy))
    rows = {row.clip_id: row for row in read_rows(workspace.raw_table, RawClip)}
    assert len(rows) == 5
    for utterance, first in (("00001", 10), ("00002", 20)):
        row = rows[f"vox2-id00012-{A}-{utterance}"]
        path = workspace.raw / row.path
        frames = list(read_frames(path, 0.0, 30))
        assert numbers_of(frames) == list(range(first, first + 30))
        audio = read_audio(path, 0.0, 30 * 640)
        assert click_time(audio) == pytest.approx(1.0 - first / 25, abs=0.003)
        assert row.annotation["asd_conf"] == 4.5
        assert row.annotation["source_width"] == 64
    # One download per video: the generic extractor looks first, then the file is fetched.
    assert server.asked == dict.fromkeys((A, B, C, D), 2)
    source = Ledger(workspace.ledger).sources("download")[A]
    assert source.state is State.DONE
    assert len(source.facts["sha256"]) == 64
    assert source.tool
    assert not list(workspace.work("download").rglob("source.*"))


@pytest.mark.slow
def test_each_kind_of_failure_ends_as_it_should(server, workspace, copy):
    others = ("eeeeeeeeeee", "fffffffffff", "ggggggggggg", "hhhhhhhhhhh")
    for video in others:
        annotate(copy, video)
    annotate(copy, "ggggggggggg", box=(0.3, 0.2, 0.25, 0.4444))  # of a 16:9 picture
    server.videos = dict.fromkeys((A, B, C, D, *others), video_bytes())
    del server.videos[A]  # 404
    server.answers[B] = [503, 200]
    server.answers[C] = ["cut", 200]
    server.answers[D] = [403, 200]
    server.answers["eeeeeeeeeee"] = [500] * 50
    server.videos["fffffffffff"] = video_bytes(30)
    server.videos["hhhhhhhhhhh"] = video_bytes(60, sound=False)
    report = run_stage("download", workspace, config=of(copy, share=0.5))
    assert report.counts.done == 3
    assert report.counts.dropped == {"video_gone": 1, "video_changed": 3}
    assert report.counts.failed == {"network_trouble": 1}
    assert states(workspace) == {
        A: "video_gone", B: "done", C: "done", D: "done", "eeeeeeeeeee": "network_trouble",
        "fffffffffff": "video_changed", "ggggggggggg": "video_changed",
        "hhhhhhhhhhh": "video_changed",
    }  # fmt: skip
    messages = {v: row.message for v, row in Ledger(workspace.ledger).sources("download").items()}
    assert "lasts 1.20 s" in messages["fffffffffff"]
    assert "64x64" in messages["ggggggggggg"]
    assert "no sound" in messages["hhhhhhhhhhh"]


@pytest.mark.slow
def test_a_retry_asks_again_only_for_what_may_work_now(server, workspace, copy):
    server.videos = {C: video_bytes(), D: video_bytes(30)}
    server.answers = {A: [404], B: [500] * 50}
    server.videos[B] = video_bytes()
    run_stage("download", workspace, config=of(copy, share=0.5))
    server.answers.clear()
    server.asked.clear()
    run_stage("download", workspace, config=of(copy, share=0.5))
    assert not server.asked  # nothing is tried again by itself
    clear_failures("download", workspace, [Reason.NETWORK])
    assert Ledger(workspace.ledger).reset_failed_sources("download", [Reason.NETWORK]) == 1
    report = run_stage("download", workspace, config=of(copy))
    assert set(server.asked) == {B}
    assert (report.counts.done, report.counts.dropped.total()) == (2, 2)


@pytest.mark.slow
@pytest.mark.parametrize("status", [429, 403])
def test_throttling_pauses_all_downloads_and_no_video_counts_as_gone(
    server, workspace, copy, status, caplog
):
    server.videos = dict.fromkeys((A, B, C, D), video_bytes())
    if status == 429:
        server.busy_after, server.busy_for = 2, 6
    else:
        server.answers = {video: [403] for video in (A, B, C)}
    with caplog.at_level(logging.WARNING):
        report = run_stage("download", workspace, config=of(copy, tries=2))
    assert report.counts.done == 4
    assert set(states(workspace).values()) == {"done"}
    assert "all downloads pause" in caplog.text
    attempts = [row.attempts for row in Ledger(workspace.ledger).sources("download").values()]
    assert attempts == [1] * 4  # a throttled try is not an attempt
    assert not (workspace.work("download") / "videos" / "throttled.json").exists()


@pytest.mark.slow
def test_after_many_pauses_the_remaining_videos_fail_as_throttled(server, workspace, copy):
    server.videos = dict.fromkeys((A, B, C, D), video_bytes())
    server.answers[C] = server.answers[D] = [429] * 99
    server.busy_after, server.busy_for = 2, 10**6
    with pytest.raises(CheckError, match="throttled"):
        run_stage("download", workspace, config=of(copy, max_pauses=3, pause_s=0.01))
    counts = Ledger(workspace.ledger).counts("download")
    assert counts.failed["throttled"] == 4 - counts.done > 0
    assert counts.dropped.total() == 0


def test_a_site_that_yt_dlp_no_longer_reads_stops_the_run(server, workspace, copy, monkeypatch):
    def broken(*_):
        raise ytdlp.VideoError(Failure.BROKEN, "Signature extraction failed")

    monkeypatch.setattr(ytdlp, "download_video", broken)
    with pytest.raises(CheckError, match=r"pip install -U yt-dlp.*Signature extraction failed"):
        run_stage("download", workspace, config=of(copy))


def test_without_the_explicit_setting_nothing_is_downloaded_and_the_terms_are_shown(server, copy):
    with pytest.raises(ValueError, match="terms of service forbid"):
        of(copy, allowed=False)
    assert not server.total


@pytest.mark.slow
def test_a_video_over_the_limits_is_left_out(server, workspace, copy):
    server.videos = dict.fromkeys((A, B, C, D), video_bytes())
    server.videos[A] = video_bytes() + b"\0" * 1_100_000
    report = run_stage("download", workspace, config=of(copy, share=0.5, max_megabytes=1))
    assert report.counts.failed == {"video_restricted": 1}
    assert "limit" in Ledger(workspace.ledger).sources("download")[A].message


@pytest.mark.slow
def test_the_cookies_are_sent_and_written_nowhere(
    server, workspace, copy, tmp_path, monkeypatch, caplog, capfd
):
    secret = tmp_path / "jar-of-mine.txt"
    text = "# Netscape HTTP Cookie File\n127.0.0.1\tFALSE\t/\tFALSE\t0\tSID\tverysecret\n"
    secret.write_text(text)
    monkeypatch.setenv(COOKIES_VARIABLE, str(secret))
    server.videos = dict.fromkeys((A, B, C), video_bytes())
    server.answers[B] = [500] * 50
    with caplog.at_level(logging.DEBUG):
        run_stage("download", workspace, config=of(copy, share=0.5))
    assert any("SID=verysecret" in headers for headers in server.headers)
    assert secret.read_text() == text
    said = caplog.text + "".join(capfd.readouterr())
    written = b"".join(p.read_bytes() for p in workspace.root.rglob("*") if p.is_file())
    for word in ("verysecret", "jar-of-mine"):
        assert word not in said
        assert word.encode() not in written


def test_an_unreadable_cookie_file_is_reported_without_its_name(
    server, workspace, copy, monkeypatch
):
    monkeypatch.setenv(COOKIES_VARIABLE, "/nowhere/jar-of-mine.txt")
    with pytest.raises(UsageError, match=COOKIES_VARIABLE) as caught:
        run_stage("download", workspace, config=of(copy))
    assert "jar-of-mine" not in str(caught.value)


def test_addresses_are_built_from_ids_only():
    assert watch_address("-4WQ2xQlAbc") == "https://www.youtube.com/watch?v=-4WQ2xQlAbc"
    for odd in (
        "",
        "short",
        "https://x/",
        "abcdefghij&",
        "abcdefghijkl",
        "abcde fghij",
        "abcdefghij\n",
    ):
        with pytest.raises(ValueError, match="is not a YouTube id"):
            watch_address(odd)


@pytest.mark.slow
def test_no_plugin_and_no_configuration_of_the_user_is_loaded(
    server, workspace, copy, tmp_path, monkeypatch
):
    home = tmp_path / "home"
    plugin = home / ".config" / "yt-dlp" / "plugins" / "x" / "yt_dlp_plugins" / "postprocessor"
    plugin.mkdir(parents=True)
    (plugin / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    (home / ".config" / "yt-dlp" / "config").write_text("--exec 'touch ran'\n")
    for name in ("HOME", "XDG_CONFIG_HOME"):
        monkeypatch.setenv(name, str(home if name == "HOME" else home / ".config"))
    monkeypatch.chdir(tmp_path)
    server.videos = dict.fromkeys((A, B, C, D), video_bytes())
    run_stage("download", workspace, config=of(copy))
    assert not (tmp_path / "ran").exists()


def test_the_square_is_padded_where_the_face_leaves_the_picture():
    picture = np.full((90, 160, 3), 200, np.uint8)
    whole = square(picture, (0.0, 0.0, 0.5625, 1.0), QUICK, in_pixels=False)
    assert whole.shape == (64, 64, 3)
    assert (whole == 200).all()
    corner = square(picture, (-0.28125, -0.5, 0.5625, 1.0), QUICK, in_pixels=False)
    assert (corner[:31, :31] == 110).all()
    assert (corner[33:, 33:] == 200).all()
    pixels = square(picture, (0, 0, 360, 360), QUICK, in_pixels=True)
    assert (pixels == whole).all()


@pytest.mark.slow
def test_yt_dlp_finds_the_solver_of_challenges_with_our_options_and_no_network(tmp_path):
    yt_dlp = pytest.importorskip("yt_dlp")
    from yt_dlp.extractor.youtube import YoutubeIE
    from yt_dlp.extractor.youtube.jsc._builtin import ejs, node
    from yt_dlp.extractor.youtube.pot._director import YoutubeIEContentProviderLogger

    options = ytdlp._options(tmp_path, YouTubeConfig(), ytdlp.Site(), ytdlp._Log(), tmp_path, [])
    assert options["cachedir"] is False
    assert not options.get("remote_components")
    with yt_dlp.YoutubeDL(options) as downloader:
        extractor = YoutubeIE(downloader)
        log = YoutubeIEContentProviderLogger(extractor, "jsc")
        solver = node.NodeJCP(extractor, log, {})
        for kind in ejs.ScriptType:
            assert solver._get_script(kind).source is ejs.ScriptSource.PYPACKAGE
    assert ytdlp.solver_version()


@pytest.mark.parametrize("version", [None, "0.0.1"])
def test_without_the_solver_nothing_is_asked_of_youtube(tmp_path, monkeypatch, version):
    found = SimpleNamespace(version=version) if version else None
    monkeypatch.setattr("yt_dlp.dependencies.yt_dlp_ejs", found)
    results = session.download_videos(
        [],
        YouTubeConfig(),
        read_annotation=None,
        ledger=None,
        raw=tmp_path,
        work=tmp_path,
        workers=0,
        timeout_s=1,
    )
    with pytest.raises(UsageError, match=f"yt-dlp-ejs.*is {version or 'missing'}; yt-dlp needs"):
        list(results)


def test_what_is_installed_with_us_brings_the_solver_that_yt_dlp_wants():
    from yt_dlp.extractor.youtube.jsc._builtin.vendor import VERSION

    root = Path(__file__).parents[2]
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    lists = [project["dependencies"], *project["optional-dependencies"].values()]
    with_yt_dlp = [one for one in lists if any(name(line) == "yt-dlp" for line in one)]
    assert with_yt_dlp
    for one in with_yt_dlp:
        (wanted,) = (Requirement(line) for line in one if name(line) == "yt-dlp-ejs")
        assert wanted.specifier.contains(VERSION)
    pinned = (root / "requirements" / "constraints.txt").read_text().split()
    assert f"yt-dlp-ejs=={VERSION}" in pinned


def name(requirement: str) -> str:
    return Requirement(requirement).name
