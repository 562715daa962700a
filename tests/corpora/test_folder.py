import errno
import os
from pathlib import Path

import pytest

from avsep.corpora.config import FolderConfig
from avsep.corpora.folder import Folder
from avsep.corpora.ids import slug, split_of
from avsep.corpora.source_files import link
from avsep.errors import CheckError, ItemError, Reason, UsageError
from avsep.settings import build
from avsep.workspace import Workspace
from tests.support.zoo_cases import NAMES


@pytest.fixture
def videos(tmp_path):
    """Two speakers with two clips each, one clip in the root, and files that are not videos."""
    root = tmp_path / "videos"
    for file in ("ann/one.mp4", "ann/two.MOV", "Bob B/talk/one.mkv", "Bob B/x.webm", "solo.avi"):
        put(root / file)
    put(root / "ann/notes.txt")
    put(root / ".hidden.mp4")
    return root


def put(path, content=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content or path.name)


def list_clips(root, seed=0, **settings):
    config = FolderConfig(root=str(root), **settings)
    workspace = Workspace(root.parent / "project")
    return Folder(config=config, workspace=workspace, seed=seed).list_clips()


def by_source(root, found):
    return {os.path.relpath(clip.source, root): clip for clip in found}


def test_folders_name_the_speakers_and_each_file_in_the_root_is_its_own_speaker(videos):
    found = by_source(videos, list_clips(videos))
    assert sorted(found) == [
        "Bob B/talk/one.mkv", "Bob B/x.webm", "ann/one.mp4", "ann/two.MOV", "solo.avi",
    ]  # fmt: skip
    assert found["ann/one.mp4"].speaker == found["ann/two.MOV"].speaker == "folder-ann"
    assert found["Bob B/x.webm"].speaker == found["Bob B/talk/one.mkv"].speaker
    assert found["solo.avi"].speaker == "folder-solo"
    assert found["ann/two.MOV"].path.endswith(".mov")


def test_ids_come_from_speaker_stem_and_path_and_stay_when_files_are_added(videos):
    before = {clip.source: clip.clip_id for clip in list_clips(videos)}
    put(videos / "aaa/first.mp4")
    after = {clip.source: clip.clip_id for clip in list_clips(videos)}
    assert before.items() <= after.items()
    clip_id = before[str(videos / "ann/one.mp4")]
    assert clip_id.startswith("folder-ann-one-")
    assert len(clip_id.rsplit("-", 1)[1]) == 8


def test_names_that_differ_only_in_special_characters_stay_different_speakers(tmp_path):
    for name in ("Ann B", "Ann-B", "Änn B", "日本", "中国"):
        put(tmp_path / "v" / name / "one.mp4")
    found = list_clips(tmp_path / "v")
    assert len({clip.speaker for clip in found}) == 5
    assert len({clip.clip_id for clip in found}) == 5
    assert slug("日本") == "x"


def test_a_speaker_is_in_one_split_and_the_shares_are_followed(videos):
    splits = {}
    for clip in list_clips(videos, val_share=0.4, test_share=0.4):
        assert splits.setdefault(clip.speaker, clip.split) == clip.split
    drawn = [split_of(f"speaker {n}", 0, 0.2, 0.3) for n in range(2000)]
    assert drawn.count("val") == pytest.approx(400, abs=60)
    assert drawn.count("test") == pytest.approx(600, abs=60)
    assert [split_of(f"speaker {n}", 1, 0.2, 0.3) for n in range(2000)] != drawn
    assert {split_of(f"speaker {n}", 0, 0.0, 0.0) for n in range(50)} == {"train"}


def test_a_csv_names_speaker_gender_split_group_and_text(videos):
    rows = (
        "file,speaker,gender,split,group,text\n"
        'ann/one.mp4,Ann,female,,duo,"Yes, well"\n'
        "ann/two.MOV,Ann,f,test,duo,\n"
        "Bob B/talk/one.mkv,Bob,M,,duo,\n"
        "Bob B/x.webm,Bob,,,duo,\n"
        "solo.avi,Cid,,val,,\n"
    )
    put(videos / "speakers.csv", "\ufeff" + rows)
    found = by_source(videos, list_clips(videos, csv="speakers.csv"))
    first, second = found["ann/one.mp4"], found["ann/two.MOV"]
    assert (first.speaker, first.gender, first.text) == ("folder-Ann", "f", "Yes, well")
    assert first.split == second.split == "test"
    assert first.group == found["Bob B/x.webm"].group == "folder-duo"
    assert found["solo.avi"].split == "val"
    assert found["solo.avi"].group == "folder-Cid"


def test_speakers_of_one_group_get_one_split(videos):
    rows = "file,speaker,group\nann/one.mp4,a,g\nann/two.MOV,b,g\nsolo.avi,c,g\n"
    put(videos / "s.csv", rows)
    for seed in range(5):
        found = list_clips(
            videos, seed, csv="s.csv", only_listed=True, val_share=0.3, test_share=0.3
        )
        assert len({clip.split for clip in found}) == 1


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        ("speaker,path\na,b\n", "lacks the column file or speaker"),
        ("file,speaker,colour\nsolo.avi,a,red\n", "unknown column 'colour'"),
        ("file,speaker\nsolo.avi,\n", "line 2 .* has no speaker"),
        ("file,speaker\nsolo.avi,a\nsolo.avi,b\n", "line 3 .* a second time"),
        ("file,speaker\n../secret.mp4,a\n", "inside the folder"),
        ("file,speaker\n/etc/x.mp4,a\n", "inside the folder"),
        ("file,speaker\nann/notes.txt,a\n", "does not end in"),
        ("file,speaker,gender\nsolo.avi,a,x\n", "gender 'x'"),
        ("file,speaker,split\nsolo.avi,a,dev\n", "split 'dev'"),
        ("file,speaker,split\nsolo.avi,a,val\nann/one.mp4,a,test\n", "one split only"),
        ("file,speaker\nsolo.avi,a,b\n", "more fields than columns"),
        ("file,speaker\nsolo.avi,a\n", "4 videos in .* are not in s.csv"),
        ("file,speaker\n", "5 videos in .* are not in s.csv"),
    ],
)
def test_a_wrong_csv_is_refused_with_a_sentence(videos, rows, sentence):
    put(videos / "s.csv", rows)
    with pytest.raises(UsageError, match=sentence):
        list_clips(videos, csv="s.csv")


def test_a_missing_or_binary_csv_is_refused(videos):
    with pytest.raises(UsageError, match=r"none\.csv is missing"):
        list_clips(videos, csv="none.csv")
    (videos / "b.csv").write_bytes(b"\xff\xfe\x00\x01")
    with pytest.raises(UsageError, match="not text in UTF-8"):
        list_clips(videos, csv="b.csv")


def test_an_empty_a_missing_and_an_overlapping_folder_are_refused(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="has no videos"):
        list_clips(tmp_path / "empty")
    with pytest.raises(UsageError, match="is not a folder"):
        list_clips(tmp_path / "none")
    (tmp_path / "around/project/data/raw").mkdir(parents=True)
    put(tmp_path / "around/x.mp4")
    config = FolderConfig(root=str(tmp_path / "around"))
    workspace = Workspace(tmp_path / "around/project")
    with pytest.raises(UsageError, match="contains the other"):
        Folder(config=config, workspace=workspace, seed=0).list_clips()


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"val_share": 1.5}, "val_share is 1.5"),
        ({"val_share": 0.6, "test_share": 0.6}, "add up to 1.2"),
        ({"only_listed": True}, "needs a list of videos"),
    ],
)
def test_wrong_settings_are_refused_with_a_sentence(values, sentence):
    with pytest.raises(UsageError, match=sentence):
        build(FolderConfig, values, "download.folder")


def test_links_to_folders_are_followed_once(videos):
    (videos / "back").symlink_to(videos)
    (videos.parent / "else").mkdir()
    put(videos.parent / "else/far.mp4")
    (videos / "cara").symlink_to(videos.parent / "else")
    found = by_source(videos, list_clips(videos, follow_links=True))
    assert len(found) == 6
    assert found["cara/far.mp4"].speaker == "folder-cara"


def test_only_broken_links_and_pipes_fail(videos, tmp_path):
    (videos / "gone.mp4").symlink_to(tmp_path / "nowhere.mp4")
    os.mkfifo(videos / "pipe.mp4")
    raw = tmp_path / "raw"
    reasons = {}
    for file, clip in by_source(videos, list_clips(videos, follow_links=True)).items():
        try:
            link(clip, raw)
        except ItemError as error:
            reasons[file] = error.reason
    assert reasons == {"gone.mp4": Reason.FILE_MISSING, "pipe.mp4": Reason.UNREADABLE}
    assert len(list(raw.glob("folder/*"))) == 5


def test_every_file_name_becomes_a_clip_of_its_own(tmp_path):
    root = tmp_path / "videos"
    for name in NAMES:
        put(root / "ann" / name, "x")
    names = [name for name in NAMES if not name.startswith(".")]
    found = list_clips(root)
    assert sorted(Path(clip.source).name for clip in found) == sorted(names)
    assert len({clip.path.lower() for clip in found}) == len(names)
    for clip in found:
        link(clip, tmp_path / "raw")
        assert (tmp_path / "raw" / clip.path).read_text() == "x"


@pytest.mark.parametrize(
    "other", ["Jose\u0301", "Jos\u00e9\u200f", "\u200bJos\u00e9", "Jos\u00e9 "]
)
def test_one_speaker_spelt_in_two_ways_is_one_speaker(tmp_path, other):
    root = tmp_path / "videos"
    put(root / "Jos\u00e9/one.mp4")
    put(root / other / "two.mp4")
    found = list_clips(root, val_share=0.5, test_share=0.5)
    assert len(found) == 2
    assert len({(clip.speaker, clip.group, clip.split) for clip in found}) == 1


def test_a_csv_names_files_in_another_unicode_form_and_with_spaces_around(tmp_path):
    root = tmp_path / "videos"
    put(root / "Jose\u0301.mp4")
    put(root / " b.mp4 .mp4")
    put(root / "s.csv", "file,speaker\nJos\u00e9.mp4,Jos\u00e9\n b.mp4 .mp4,Jose\u0301\n")
    found = by_source(root, list_clips(root, csv="s.csv"))
    assert sorted(found) == [" b.mp4 .mp4", "Jose\u0301.mp4"]
    assert len({clip.speaker for clip in found.values()}) == 1
    put(root / "s.csv", "file,speaker\nnul\0.mp4,a\n")
    with pytest.raises(UsageError, match="inside the folder"):
        list_clips(root, csv="s.csv")


def test_a_folder_that_cannot_be_read_stops_the_listing(videos, monkeypatch):
    scandir = os.scandir

    def refuse(path):
        if Path(path).name == "talk":
            raise OSError(errno.EIO, "Input/output error", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(CheckError, match="Bob B/talk cannot be read: Input/output error"):
        list_clips(videos)


def test_links_that_lead_nowhere_or_out_are_refused_and_system_folders_left_out(videos, tmp_path):
    (videos / "lost+found").mkdir()
    put(videos / "lost+found/x.mp4")
    (videos / "sub").symlink_to(videos / "ann")
    assert len(list_clips(videos)) == 5
    for target, sentence in (
        (videos / "nowhere", "cara leads to .*nowhere, which is not there"),
        (tmp_path, "cara leads to .*, out of"),
        (Path("/proc/self"), "cara leads to /proc/"),
    ):
        (videos / "cara").symlink_to(target)
        with pytest.raises(CheckError, match=sentence):
            list_clips(videos)
        (videos / "cara").unlink()
    (videos / "loop").symlink_to(videos / "loop")
    with pytest.raises(CheckError, match="loop"):
        list_clips(videos)


def test_files_that_are_not_clips_are_counted(videos):
    put(videos / "ann/._one.mp4")
    put(videos / ".trash/old.mp4")
    (videos / ".link.mp4").symlink_to("/etc/passwd")  # nobody opens it
    put(videos / "clip.TS")
    put(videos / "s.csv", "file,speaker\nsolo.avi,a\n")
    config = FolderConfig(root=str(videos), csv="s.csv", only_listed=True)
    corpus = Folder(config=config, workspace=Workspace(videos.parent / "project"), seed=0)
    assert corpus.left_out() == (
        "3 hidden video(s), 1 hidden folder(s), 2 other file(s) (.ts 1, .txt 1),"
        " 4 video(s) that s.csv does not name"
    )
