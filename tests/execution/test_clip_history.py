"""`avsep ledger show CLIP`, and the source files in `avsep ledger failures`."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import yaml

from avsep.cli.app import app
from avsep.corpora.config import FolderConfig
from avsep.corpora.source_clip import SourceClip
from avsep.errors import State, UsageError
from avsep.outcome import Outcome
from avsep.workspace import PARAMS, Workspace
from pipeline.execution.clip_history import find_clip
from pipeline.execution.ledger import Ledger
from pipeline.stages.clean import CleanConfig
from pipeline.stages.download import DownloadConfig, _source_path
from tests.support.clip_maker import make_clip, moving_pictures, speech_like
from tests.support.stage_run import run_stage


@pytest.fixture(scope="module")
def videos(tmp_path_factory) -> Path:
    """Two good clips, one that is not a video, one without a file behind its link."""
    root = tmp_path_factory.mktemp("own videos")
    for number, file in enumerate(("ann/first talk.mp4", "bob/one.mp4")):
        (root / file).parent.mkdir()
        make_clip(
            root / file,
            pictures=moving_pictures(50, seed=number),
            audio=speech_like(2.0, seed=number),
        )
    (root / "ann" / "broken.mp4").write_text("not a video")
    (root / "bob" / "gone.mp4").symlink_to(root / "nowhere.mp4")
    return root.resolve()


@pytest.fixture(scope="module")
def workspace(videos, tmp_path_factory) -> Workspace:
    made = Workspace(tmp_path_factory.mktemp("project"))
    (made.root / PARAMS).write_text(yaml.safe_dump({}))
    folder = FolderConfig(root=str(videos))
    config = DownloadConfig(corpus="folder", workers=0, folder=folder, max_failed_share=1.0)
    run_stage("download", made, config=config)
    run_stage("clean", made, config=CleanConfig(workers=0))
    return made


def avsep(workspace, capsys, *words: str) -> str:
    app([*words, "--root", str(workspace.root)], standalone_mode=False)
    return capsys.readouterr().out


def test_failures_name_the_source_file_of_each_clip(workspace, videos, capsys):
    lines = avsep(workspace, capsys, "ledger", "failures").splitlines()
    sources = {line.split("\t")[0]: line.split("\t")[5] for line in lines}
    assert sources == {
        "download": str(videos / "bob" / "gone.mp4"),
        "clean": str(videos / "ann" / "broken.mp4"),
    }


def test_show_says_what_became_of_a_clip_why_and_where(workspace, videos, capsys):
    said = avsep(workspace, capsys, "ledger", "show", str(videos / "ann" / "broken.mp4"))
    assert f"source: {videos / 'ann' / 'broken.mp4'}" in said
    assert str(workspace.raw / "folder") in said  # the linked file of download
    assert "clean: folder-ann-broken" in said
    assert "dropped\n  undecodable: " in said
    assert said.count("not reached") == 2  # extract and mix


def test_show_follows_a_good_clip_to_the_table_of_clean(workspace, capsys):
    said = avsep(workspace, capsys, "ledger", "show", "first talk.mp4")
    assert "speaker: folder-ann" in said
    assert "split: " in said
    assert "0.00 to 2.00 s" in said
    assert str(workspace.clips / "clips.parquet") in said


def test_show_follows_a_clip_that_could_not_be_brought(workspace, capsys):
    said = avsep(workspace, capsys, "ledger", "show", "bob/gone.mp4")
    assert "download: folder-bob-gone" in said
    assert "failed\n  file_missing: " in said


@pytest.mark.parametrize("name", ["id", "key", "absolute", "end", "name", "raw", "relative"])
def test_a_clip_is_found_by_id_key_or_path(workspace, videos, monkeypatch, name):
    ledger = Ledger(workspace.ledger)
    clip_id = next(item for item in ledger.outcomes("download") if "-first-talk-" in item)
    monkeypatch.chdir(videos / "bob")
    given = {
        "id": clip_id,
        "key": f"{clip_id}-t1",
        "absolute": str(videos / "ann" / "first talk.mp4"),
        "end": "ann/first talk.mp4",
        "name": "first talk.mp4",
        "raw": str(workspace.raw / "folder" / f"{clip_id}.mp4"),
        "relative": "../ann/first talk.mp4",
    }[name]
    assert find_clip(given, workspace, ledger) == clip_id


def test_no_clip_and_several_are_one_sentence(workspace):
    ledger = Ledger(workspace.ledger)
    with pytest.raises(UsageError, match=r"has no clip 'talk\.mp4'"):
        find_clip("talk.mp4", workspace, ledger)  # the end of a name is not the end of a path
    twins = [Outcome(item=f"twin-{n}", state=State.DONE, path=f"/v/{n}/same.mp4") for n in (1, 2)]
    ledger.record("download", twins)
    with pytest.raises(UsageError, match="fits 2 clips"):
        find_clip("same.mp4", workspace, ledger)
    ledger.keep_only("download", set(ledger.outcomes("download")) - {"twin-1", "twin-2"})


def test_a_source_whose_name_is_not_utf_8_is_kept_escaped(tmp_path, capsys):
    made = Workspace(tmp_path)
    (tmp_path / PARAMS).write_text("{}")
    clip = SourceClip(
        **dict.fromkeys(("clip_id", "corpus", "speaker", "group", "path"), "x"),
        gender="",
        split="train",
        source=os.fsdecode(b"/v/a\xff.mp4"),
    )
    ended = Outcome(item="x", state=State.DONE, path=_source_path(clip))
    Ledger(made.ledger).record("download", [ended])
    assert r"source: /v/a\xff.mp4" in avsep(made, capsys, "ledger", "show", "x")
