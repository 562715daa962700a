"""Lists of spans of YouTube videos, by the route of VoxCeleb2 and with its codes."""

import tempfile
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest

from avsep.corpora.avspeech import read_spans
from avsep.corpora.config import AvSpeechConfig
from avsep.corpora.youtube import session
from avsep.corpora.youtube.config import YouTubeConfig
from avsep.errors import UsageError
from avsep.media.decode import read_frames
from avsep.schema import RawClip
from avsep.tables import read_rows
from avsep.workspace import Workspace
from pipeline.execution.ledger import Ledger
from pipeline.stages.download import DownloadConfig
from tests.support.clip_maker import click_audio, make_clip, numbered_pictures, numbers_of
from tests.support.stage_run import run_stage
from tests.support.video_server import serving

A, B, GONE = "-aaaaaaaaaa", "_bbbbbbbbb-", "ccccccccccc"


@lru_cache
def video_bytes() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        pictures, audio = numbered_pictures(60), click_audio(2.4, 1.0, 16_000)
        return make_clip(Path(folder) / "v.mp4", pictures=pictures, audio=audio).read_bytes()


def of(root, share=0.0, **settings) -> DownloadConfig:
    quick = YouTubeConfig(
        allowed=True, sleep_s=(0, 0), retry_delay_s=0, pause_s=0.05, rate_limit_mb_s=1000,
        box_scale=1.25, size=64, tries=2,
    )  # fmt: skip
    lists = AvSpeechConfig(root=str(root), side=1.0, val_share=0.0, **settings)
    return DownloadConfig(
        corpus="avspeech", workers=0, max_failed_share=share, youtube=quick, avspeech=lists
    )


@pytest.mark.slow
def test_spans_are_cut_where_the_list_says_and_dead_videos_have_their_code(tmp_path, monkeypatch):
    root, workspace = tmp_path / "lists", Workspace(tmp_path / "project")
    root.mkdir()
    (root / "avspeech_train.csv").write_text(
        f"{A},0.4,1.2,0.5,0.5\n{A},1.000000,2.200000,0.5,0.5\n{GONE},0,1,0.5,0.5\n"
    )
    (root / "avspeech_test.csv").write_text(f"{B},0.4,1.2,0.25,0.5\n")
    with serving() as server:
        monkeypatch.setattr(session, "SITE", server.site)
        server.videos = {A: video_bytes(), B: video_bytes()}
        run_stage("download", workspace, config=of(root, share=0.5))
    rows = {row.clip_id: row for row in read_rows(workspace.raw_table, RawClip)}
    assert {row.split for row in rows.values() if row.video == A} == {"train"}
    assert {row.split for row in rows.values() if row.video == B} == {"test"}
    for start, first, count in ((400, 10, 20), (1000, 25, 30)):
        row = rows[f"avspeech-{A}-{start:08d}"]
        frames = list(read_frames(workspace.raw / row.path, 0.0, count))
        assert numbers_of(frames) == list(range(first, first + count))
        assert not row.redistributable
    # The square of the other one reaches over the left edge of the picture.
    [aside] = [row for row in rows.values() if row.video == B]
    [frame] = read_frames(workspace.raw / aside.path, 0.0, 1)
    assert np.abs(frame[:, :8].astype(int) - 110).max() < 30
    ended = Ledger(workspace.ledger).sources("download")
    assert ended[GONE].reason is not None
    assert ended[A].reason is None


def test_without_the_explicit_setting_nothing_is_downloaded(tmp_path):
    with pytest.raises(ValueError, match="downloads from YouTube are off"):
        DownloadConfig(corpus="avspeech", avspeech=AvSpeechConfig(root=str(tmp_path)))


@pytest.mark.parametrize(
    "line",
    [
        "short,0,1,0.5,0.5", f"{A},0,1,0.5", f"{A},1,0.5,0.5,0.5", f"{A},0,1,1.5,0.5",
        f"{A},nan,1,0.5,0.5", f"{A},0,inf,0.5,0.5", f"{A},0,900,0.5,0.5", f"{A},a,b,c,d",
        "../../../xyz,0,1,0.5,0.5", f"{A},-1,1,0.5,0.5",
    ],
)  # fmt: skip
def test_a_line_that_is_no_span_is_named(tmp_path, line):
    path = tmp_path / "list.csv"
    path.write_text(f"{A},0,1,0.5,0.5\n{line}\n")
    with pytest.raises(UsageError, match=r"line 2 of .*list\.csv"):
        list(read_spans(path))


def test_column_names_and_blank_lines_are_passed_over(tmp_path):
    path = tmp_path / "list.csv"
    path.write_text(f"id, start, end, x, y\n\n{A}, 0, 1, 0.5, 0.25\n")
    [(number, span)] = read_spans(path)
    assert (number, span.video, span.y) == (3, A, 0.25)
    path.write_text("")
    with pytest.raises(UsageError, match="is empty"):
        list(read_spans(path))


def test_a_share_of_the_videos_is_the_same_each_time_and_grows(tmp_path):
    lines = [f"{'abcdefghij'[i] * 11},0,1,0.5,0.5\n" for i in range(10)]
    root = tmp_path / "lists"
    root.mkdir()
    (root / "avspeech_train.csv").write_text("".join(lines))

    def videos(count) -> set[str]:
        from avsep.corpora.catalogue import open_corpus

        config = of(root, max_videos=count, test="")
        corpus = open_corpus(config, Workspace(tmp_path / "p"), None)
        return {clip.video for clip in corpus.list_clips()}

    assert videos(3) < videos(5)
    assert len(videos(5)) == 5


def test_a_span_late_in_a_long_video_keeps_its_frames(tmp_path):
    from avsep.corpora.catalogue import open_corpus

    root = tmp_path / "lists"
    root.mkdir()
    (root / "avspeech_train.csv").write_text(f"{A},12345.64,12346.64,0.123456789,0.5\n")
    corpus = open_corpus(of(root, test=""), Workspace(tmp_path / "p"), None)
    [clip] = corpus.list_clips()
    boxes = corpus.read_annotation(clip).boxes
    assert (boxes.first_frame, len(boxes.rows)) == (308641, 25)
    assert boxes.rows[0][0] == 0.123456789


def test_a_span_that_is_listed_twice_is_refused(tmp_path):
    root = tmp_path / "lists"
    root.mkdir()
    for name in ("train", "test"):
        (root / f"avspeech_{name}.csv").write_text(f"{A},0,1,0.5,0.5\n")
    with pytest.raises(UsageError, match="listed already"):
        run_stage("download", Workspace(tmp_path / "p"), config=of(root))
