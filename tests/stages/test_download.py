import errno
import os
import shutil
from dataclasses import replace

import pytest

from avsep.corpora import folder
from avsep.corpora.config import FolderConfig
from avsep.corpora.demo import corpus
from avsep.corpora.demo.config import DemoConfig
from avsep.errors import CheckError, Reason, UsageError
from avsep.files import sha256_file
from avsep.progress import no_progress
from avsep.schema import RawClip
from avsep.settings import build
from avsep.tables import read_rows
from avsep.workspace import Workspace
from pipeline.execution.ledger import Ledger
from pipeline.execution.markers import clear_failures
from pipeline.stages import download
from pipeline.stages.download import DownloadConfig
from tests.support.stage_run import run_stage

DEMO = DownloadConfig(
    workers=0, demo=DemoConfig(clips_per_speaker=2, train=(0,), val=(), test=(1,))
)


@pytest.fixture
def rendered(monkeypatch):
    """Tiny renderings of two frames; the ids of what was rendered, in order."""
    made = []
    whole = corpus.talk

    def tiny(clip, *, seed):
        made.append(clip.clip_id)
        return whole(clip, seed=seed, size=32, num_frames=2)

    monkeypatch.setattr(corpus, "talk", tiny)
    return made


@pytest.fixture
def workspace(tmp_path):
    return Workspace(tmp_path / "project")


@pytest.fixture
def videos(tmp_path):
    root = tmp_path / "videos"
    for file in ("ann/one.mp4", "ann/two.mp4", "bob/one.mp4", "solo.mkv"):
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).write_text(file)
    return root


def of_folder(root, **settings) -> DownloadConfig:
    return DownloadConfig(
        corpus="folder", workers=0, folder=FolderConfig(root=str(root)), **settings
    )


def table(workspace) -> list[RawClip]:
    return read_rows(workspace.raw_table, RawClip)


@pytest.mark.slow
def test_the_demo_corpus_becomes_files_and_a_table(workspace, rendered):
    report = run_stage("download", workspace, config=DEMO)
    rows = table(workspace)
    assert [row.clip_id for row in rows] == [
        f"demo-s0{s}-c0{c}" for s in range(2) for c in range(2)
    ]
    assert [row.split for row in rows] == ["train"] * 2 + ["test"] * 2
    for row in rows:
        path = workspace.raw / row.path
        assert (row.sha256, row.size_bytes) == (sha256_file(path), path.stat().st_size)
        assert row.redistributable
        assert row.text
        assert row.licence == "CC0-1.0 AND Apache-2.0"
    assert report.counts.done == 4
    assert report.facts["speakers"] == 2
    assert len(rendered) == 4


@pytest.mark.slow
def test_a_second_run_renders_nothing_and_gives_the_same_table(workspace, rendered):
    run_stage("download", workspace, config=DEMO)
    before = workspace.raw_table.read_bytes()
    workspace.raw_table.unlink()  # as DVC does before a stage runs
    rendered.clear()
    run_stage("download", workspace, config=DEMO)
    assert workspace.raw_table.read_bytes() == before
    assert rendered == []


@pytest.mark.slow
def test_killed_halfway_it_renders_the_rest_and_gives_the_same_table(workspace, rendered, tmp_path):
    whole = Workspace(tmp_path / "whole")
    run_stage("download", whole, config=DEMO)
    rendered.clear()
    batches = download.plan(DEMO, workspace)
    steps = []

    def killed(count):
        steps.append(count)
        if len(steps) == 3:  # of the second batch: nothing yet, then its first clip
            raise KeyboardInterrupt

    download.work(DEMO, workspace, batches[0], no_progress)
    with pytest.raises(KeyboardInterrupt):
        download.work(DEMO, workspace, batches[1], lambda count: killed(count) or killed(count))
    journal = workspace.work("download") / f"{batches[1].name}.jsonl"
    journal.write_bytes(journal.read_bytes() + b'\n["demo-s01-c01", "v1')  # a cut line
    assert rendered == ["demo-s00-c00", "demo-s00-c01", "demo-s01-c00"]
    rendered.clear()
    run_stage("download", workspace, config=DEMO)
    assert rendered == ["demo-s01-c01"]
    assert workspace.raw_table.read_bytes() == whole.raw_table.read_bytes()


def test_a_damaged_or_missing_raw_file_is_rendered_again(workspace, rendered):
    run_stage("download", workspace, config=DEMO)
    before = table(workspace)
    (workspace.raw / before[0].path).write_bytes(b"damaged")
    (workspace.raw / before[3].path).unlink()
    rendered.clear()
    run_stage("download", workspace, config=DEMO)
    assert rendered == [before[0].clip_id, before[3].clip_id]
    assert table(workspace) == before


@pytest.mark.slow
def test_other_settings_render_again_and_remove_old_files(workspace, rendered):
    run_stage("download", workspace, config=DEMO)
    before = table(workspace)
    (workspace.raw / "demo" / ".demo-s00-c00.0123.tmp.mp4").write_bytes(b"left by a kill")
    rendered.clear()
    fewer = replace(DEMO, demo=replace(DEMO.demo, clips_per_speaker=1, train=()))
    run_stage("download", workspace, config=fewer)
    assert rendered == []
    assert table(workspace) == [row for row in before if row.clip_id in kept_ids(workspace)]
    assert kept_ids(workspace) == ["demo-s01-c00"]
    assert sorted(p.name for p in workspace.work("download").iterdir()) == [
        "demo-s01.done.json",
        "demo-s01.jsonl",
    ]
    run_stage("download", workspace, config=replace(fewer, seed=1))
    assert len(rendered) == 1
    assert {row.sha256 for row in table(workspace)}.isdisjoint({row.sha256 for row in before})


def kept_ids(workspace) -> list[str]:
    return sorted(path.stem for path in (workspace.raw / "demo").iterdir())


def test_a_folder_is_linked_and_its_speakers_are_kept(workspace, videos):
    report = run_stage("download", workspace, config=of_folder(videos))
    rows = table(workspace)
    assert report.counts.done == len(rows) == 4
    for row in rows:
        link = workspace.raw / row.path
        assert link.is_symlink()
        assert sha256_file(link) == row.sha256
    assert {row.speaker for row in rows} == {"folder-ann", "folder-bob", "folder-solo"}


def test_missing_files_of_a_folder_fail_and_work_once_they_are_back(workspace, videos, tmp_path):
    (videos / "ann/gone.mp4").symlink_to(tmp_path / "later.mp4")
    folder = FolderConfig(root=str(videos), follow_links=True)
    config = replace(of_folder(videos, max_failed_share=0.5), folder=folder)
    report = run_stage("download", workspace, config=config)
    assert report.counts.failed == {str(Reason.FILE_MISSING): 1}
    assert len(table(workspace)) == 4
    ended = Ledger(workspace.ledger).outcomes("download").values()
    assert ["is missing" in outcome.message for outcome in ended if outcome.reason] == [True]
    with pytest.raises(CheckError, match="1 of 5 items failed"):
        run_stage("download", workspace, config=replace(config, max_failed_share=0.0))
    (tmp_path / "later.mp4").write_text("here now")
    clear_failures("download", workspace)
    assert run_stage("download", workspace, config=config).counts.done == 5


def test_missing_files_named_in_a_csv_are_counted(workspace, videos):
    (videos / "s.csv").write_text("file,speaker\nann/one.mp4,a\nann/none.mp4,a\n")
    config = DownloadConfig(
        corpus="folder",
        workers=0,
        max_failed_share=0.5,
        folder=FolderConfig(root=str(videos), csv="s.csv", only_listed=True),
    )
    counts = run_stage("download", workspace, config=config).counts
    assert (counts.done, counts.failed) == (1, {str(Reason.FILE_MISSING): 1})


def test_only_added_and_changed_files_are_read(workspace, videos, monkeypatch):
    run_stage("download", workspace, config=of_folder(videos))
    before = {row.clip_id: row for row in table(workspace)}
    (videos / "bob/two.mp4").write_text("new")
    (videos / "solo.mkv").write_text("longer than before")
    linked = []
    link = folder.link
    monkeypatch.setattr(
        folder, "link", lambda clip, raw: linked.append(clip.source) or link(clip, raw)
    )
    run_stage("download", workspace, config=of_folder(videos))
    assert sorted(linked) == [str(videos / "bob/two.mp4"), str(videos / "solo.mkv")]
    after = {row.clip_id: row for row in table(workspace)}
    assert [i for i in before if before[i] != after[i]] == [i for i in before if "solo" in i]


def test_only_a_file_removed_between_plan_and_work_fails(workspace, videos):
    config = of_folder(videos)
    [batch] = download.plan(config, workspace)
    (videos / "solo.mkv").unlink()
    shutil.rmtree(videos / "bob")
    outcomes = download.work(config, workspace, batch, no_progress)
    assert [o.reason for o in outcomes].count(Reason.FILE_MISSING) == 2
    again = download.work(config, workspace, batch, no_progress)
    assert [(o.item, o.reason) for o in again] == [(o.item, o.reason) for o in outcomes]


@pytest.mark.slow
def test_many_files_are_spread_over_batches_that_stay_when_a_file_is_added(workspace, videos):
    for n in range(1200):
        (videos / f"ann/{n}.mp4").touch()
    config = of_folder(videos)
    before = {item: b.name for b in download.plan(config, workspace) for item in b.items}
    (videos / "bob/new.mp4").touch()
    after = {item: b.name for b in download.plan(config, workspace) for item in b.items}
    assert len(set(before.values())) == 4
    assert before.items() <= after.items()


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"corpus": "folder"}, "folder.root is empty"),
        ({"corpus": "tube"}, "'demo', 'folder'"),
        ({"seed": -1}, "seed is -1"),
        ({"workers": -1}, "workers is -1"),
        ({"item_timeout_s": 0}, "item_timeout_s is 0"),
        ({"max_failed_share": 2}, "max_failed_share is 2"),
        ({"demo": {"clips_per_speaker": 0}}, "clips_per_speaker is 0"),
    ],
)
def test_wrong_settings_are_refused_with_a_sentence(values, sentence):
    with pytest.raises(UsageError, match=sentence):
        build(DownloadConfig, values, "download")


def test_a_name_that_is_not_utf8_is_downloaded_and_failures_name_it(workspace, tmp_path):
    root = tmp_path / "videos"
    (root / "ann").mkdir(parents=True)
    (root / "ann" / os.fsdecode(b"caf\xe9.mp4")).write_text("x")
    (root / "ann" / os.fsdecode(b"\xff\x1b[2Jgone\n.mp4")).symlink_to(root / "nowhere")
    counts = run_stage("download", workspace, config=of_folder(root, max_failed_share=0.5)).counts
    assert (counts.done, counts.failed) == (1, {str(Reason.FILE_MISSING): 1})
    run_stage("download", workspace, config=of_folder(root, max_failed_share=0.5))
    [gone] = [o for o in Ledger(workspace.ledger).outcomes("download").values() if o.reason]
    assert "gone" in gone.message
    assert gone.message.isprintable()


def test_a_set_does_not_shrink_when_a_disk_is_not_mounted(workspace, videos):
    (videos / "nas/cid").mkdir(parents=True)
    (videos / "nas/cid/one.mp4").write_text("x")
    assert run_stage("download", workspace, config=of_folder(videos)).counts.done == 5
    shutil.rmtree(videos / "nas/cid")
    with pytest.raises(CheckError, match=r"nas is empty, .* not mounted"):
        run_stage("download", workspace, config=of_folder(videos))
    assert len(table(workspace)) == 5
    (videos / "nas").rmdir()
    assert run_stage("download", workspace, config=of_folder(videos)).counts.done == 4


def test_files_that_are_left_out_are_said(workspace, videos):
    (videos / "ann/.two.mp4").write_text("x")
    (videos / "notes.txt").write_text("x")
    report = run_stage("download", workspace, config=of_folder(videos))
    assert report.facts["left out"] == "1 hidden video(s), 1 other file(s) (.txt 1)"


def test_a_root_that_cannot_be_entered_is_a_sentence(workspace, videos, monkeypatch):
    def refuse(*_):
        raise PermissionError(errno.EACCES, "Permission denied", str(videos))

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(CheckError, match="cannot be read: Permission denied"):
        run_stage("download", workspace, config=of_folder(videos))


def test_two_speakers_are_divided_clip_by_clip_and_it_says_so(workspace, tmp_path):
    for n in range(6):
        path = tmp_path / f"videos/{'ann' if n % 2 else 'bob'}/{n}.mp4"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{n}")
    report = run_stage("download", workspace, config=of_folder(tmp_path / "videos"))
    assert [report.facts[split] for split in ("train", "val", "test")] == [2, 2, 2]
    assert "2 of 2 speakers are in several splits" in report.sentence()
