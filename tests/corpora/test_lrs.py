import pytest

from avsep.corpora.config import Lrs2Config, Lrs3Config
from avsep.errors import CheckError, Reason, UsageError
from avsep.schema import RawClip
from avsep.tables import read_rows
from avsep.workspace import Workspace
from pipeline.stages.download import DownloadConfig
from tests.support import miniature
from tests.support.miniature import fake_clip
from tests.support.stage_run import run_stage


@pytest.fixture
def workspace(tmp_path):
    return Workspace(tmp_path / "project")


@pytest.fixture
def lrs2(tmp_path):
    return miniature.lrs2_copy(tmp_path / "copy", fake_clip)


@pytest.fixture
def lrs3(tmp_path):
    return miniature.lrs3_copy(tmp_path / "copy", fake_clip)


def of(corpus: str, root, share=0.0, **settings) -> DownloadConfig:
    cls = {"lrs2": Lrs2Config, "lrs3": Lrs3Config}[corpus]
    own = cls(**{"root": str(root), "check_counts": False, **settings})
    return DownloadConfig(corpus=corpus, workers=0, max_failed_share=share, **{corpus: own})


def rows(workspace) -> dict[str, RawClip]:
    return {row.origin: row for row in read_rows(workspace.raw_table, RawClip)}


@pytest.mark.parametrize("above", [False, True])
def test_lrs2_lists_define_the_splits_and_a_second_word_is_ignored(workspace, lrs2, above):
    run_stage("download", workspace, config=of("lrs2", lrs2.parent if above else lrs2))
    found = rows(workspace)
    splits = {row.video: row.split for row in found.values()}
    assert splits == {
        programme: split for split, ids in miniature.LRS2_PROGRAMMES.items() for programme in ids
    }
    assert {row.text for row in found.values()} == {"HELLO AND WELCOME"}
    assert {row.annotation["text_conf"] for row in found.values()} == {4.0}


def test_the_pretraining_part_of_lrs2_has_timed_words(workspace, lrs2):
    run_stage("download", workspace, config=of("lrs2", lrs2, pretrain=True))
    [row] = [row for origin, row in rows(workspace).items() if origin.startswith("pretrain/")]
    assert row.split == "train"
    assert (row.words, row.word_times_s) == (("GOOD", "EVENING"), (0.1, 0.42, 0.42, 0.98))
    assert row.annotation == {"text_conf": 3.0, "asd_score": 5.5}


def test_listed_clips_without_a_file_fail_and_work_once_it_is_back(workspace, lrs2):
    [clip] = lrs2.glob("main/6331*/00001.mp4")
    content = clip.read_bytes()
    clip.unlink()
    report = run_stage("download", workspace, config=of("lrs2", lrs2, share=0.5))
    assert report.counts.failed == {str(Reason.FILE_MISSING): 1}
    clip.write_bytes(content)
    report = run_stage("download", workspace, config=of("lrs2", lrs2))
    assert report.counts.failed.total() == 0


def test_an_incomplete_copy_is_recognised_by_its_counts(workspace, lrs2, lrs3):
    with pytest.raises(CheckError, match=r"lrs2: train\.txt has 4 utterances, not 45839"):
        run_stage("download", workspace, config=of("lrs2", lrs2, check_counts=True))
    with pytest.raises(CheckError, match="lrs3: test has 2 utterances, not 1321 or 1452"):
        run_stage("download", workspace, config=of("lrs3", lrs3, check_counts=True))


def test_wrong_lists_are_named_with_their_line(workspace, lrs2):
    (lrs2 / "val.txt").write_text("6311111111111111111/00001\nnonsense\n")
    with pytest.raises(UsageError, match=r"line 2 of .*val\.txt is 'nonsense'"):
        run_stage("download", workspace, config=of("lrs2", lrs2))
    (lrs2 / "val.txt").write_text((lrs2 / "train.txt").read_text())
    with pytest.raises(CheckError, match=r"is in train\.txt and in val\.txt"):
        run_stage("download", workspace, config=of("lrs2", lrs2))
    (lrs2 / "val.txt").unlink()
    with pytest.raises(UsageError, match=r"val\.txt is missing"):
        run_stage("download", workspace, config=of("lrs2", lrs2))


def test_the_validation_list_of_lrs3_is_used_as_it_is(workspace, lrs3):
    config = of("lrs3", lrs3, val_list="lrs3-valid.id", pretrain=True)
    run_stage("download", workspace, config=config)
    found = rows(workspace)
    val = [origin for origin, row in found.items() if row.split == "val"]
    assert val == ["trainval/0Fi83BHQsMA/50001", "trainval/0Fi83BHQsMA/50002"]
    assert found["pretrain/00j9bKdiOjk/00001"].split == "train"
    assert found["test/0ZfSOArXbGQ/00001"].words == ("THANK", "YOU")
    assert found["trainval/-abc_def-gh/50001"].words == ()
    assert found["trainval/-abc_def-gh/50001"].text == "THANK YOU"


def test_without_a_list_whole_talks_are_drawn(workspace, lrs3):
    run_stage("download", workspace, config=of("lrs3", lrs3, val_share=0.5))
    splits: dict[str, set[str]] = {}
    for row in rows(workspace).values():
        splits.setdefault(row.video, set()).add(row.split)
    assert all(len(names) == 1 for names in splits.values())


def test_a_folder_that_is_not_a_copy_is_refused(workspace, tmp_path):
    (tmp_path / "empty").mkdir()
    for corpus in ("lrs2", "lrs3"):
        with pytest.raises(UsageError, match="is it a copy of LRS"):
            run_stage("download", workspace, config=of(corpus, tmp_path / "empty"))
