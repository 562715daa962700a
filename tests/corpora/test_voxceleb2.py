import shutil

import pytest

from avsep.corpora.config import VoxCeleb2Config
from avsep.corpora.vox2_meta import Person, read_vox2_meta
from avsep.errors import CheckError, Reason, UsageError
from avsep.schema import RawClip
from avsep.tables import read_rows
from avsep.workspace import Workspace
from pipeline.execution.ledger import Ledger
from pipeline.stages.download import DownloadConfig
from tests.support import miniature
from tests.support.miniature import fake_clip, vox2_annotation
from tests.support.stage_run import run_stage


@pytest.fixture
def workspace(tmp_path):
    return Workspace(tmp_path / "project")


def of(root, share=0.0, **settings) -> DownloadConfig:
    vox = VoxCeleb2Config(root=str(root), **settings)
    return DownloadConfig(corpus="voxceleb2", workers=0, voxceleb2=vox, max_failed_share=share)


def rows(workspace) -> dict[str, RawClip]:
    return {row.clip_id: row for row in read_rows(workspace.raw_table, RawClip)}


def test_the_list_of_speakers_is_read_despite_its_mark_line_ends_and_spaces(tmp_path):
    miniature.write_meta(tmp_path)
    people = read_vox2_meta(tmp_path / "vox2_meta.csv")
    assert len(people) == 7
    assert people["id00012"] == Person("m", "dev")
    assert people["id05348"] == Person("f", "test")


@pytest.mark.slow
def test_a_tree_is_linked_with_its_annotations_and_the_official_test(workspace, tree):
    report = run_stage("download", workspace, config=of(tree, val_share=0.7))
    found = rows(workspace)
    assert report.counts.done == len(found) == len(miniature.vox2_keys())
    for row in found.values():
        link = workspace.raw / row.path
        assert link.is_symlink()
        assert row.origin == "/".join([row.speaker[5:], row.video, row.clip_id[-5:]])
        assert (row.split == "test") == (row.speaker in ("vox2-id00017", "vox2-id00061"))
        assert row.annotation["asd_conf"] == 4.5
        assert not row.redistributable
    assert found["vox2-id00012--4WQ2xQlAbc-00001"].gender == "m"
    of_speaker = {row.speaker: set() for row in found.values()}
    for row in found.values():
        of_speaker[row.speaker].add(row.split)
    assert all(len(splits) == 1 for splits in of_speaker.values())
    assert {"train", "val"} <= set.union(*of_speaker.values())


def test_ids_that_differ_only_in_case_get_different_file_names(workspace, tree):
    run_stage("download", workspace, config=of(tree))
    paths = [row.path.lower() for row in rows(workspace).values()]
    assert len(set(paths)) == len(paths)


def test_archives_in_parts_give_the_same_rows_as_the_tree(workspace, archives, tmp_path):
    run_stage("download", workspace, config=of(archives, route="archives", checksums="md5.txt"))
    other = Workspace(tmp_path / "other")
    run_stage("download", other, config=of(tmp_path / "scratch"))
    assert rows(workspace) == rows(other)
    for row in rows(workspace).values():
        assert (workspace.raw / row.path).read_bytes() == (other.raw / row.path).read_bytes()
        assert not (workspace.raw / row.path).is_symlink()


@pytest.mark.parametrize("where", ["", "mp4", "vox2_dev/dev/mp4", "a/b/c"])
def test_the_tree_is_found_under_any_root(workspace, tmp_path, where):
    root = tmp_path / "copy"
    miniature.write_meta(root / "lists")
    fake_clip(root / where / "id00012" / "-4WQ2xQlAbc" / "00001.mp4", 1)
    fake_clip(root / where / "id00012" / "-4WQ2xQlAbc" / "x.mp4", 1)  # no clip of the corpus
    run_stage("download", workspace, config=of(root))
    [row] = rows(workspace).values()
    assert (row.clip_id, row.annotation) == ("vox2-id00012--4WQ2xQlAbc-00001", {})


def test_a_second_run_reads_nothing_and_gives_the_same_table(workspace, archives, monkeypatch):
    config = of(archives, route="archives", checksums="md5.txt")
    run_stage("download", workspace, config=config)
    before = workspace.raw_table.read_bytes()
    monkeypatch.setattr("avsep.corpora.voxceleb2.read_member", lambda *_: pytest.fail("read"))
    run_stage("download", workspace, config=config)
    assert workspace.raw_table.read_bytes() == before


def test_only_clips_with_a_gap_or_with_the_annotation_of_another_video_are_dropped(workspace, tree):
    files = sorted((tree / "txt").rglob("*.txt"))
    files[0].write_text(vox2_annotation("id00012", files[0].parent.name, gap=True))
    files[1].write_text(vox2_annotation("id00012", "AAAAAAAAAAA"))
    report = run_stage("download", workspace, config=of(tree))
    assert report.counts.dropped == {str(Reason.BAD_ANNOTATION): 2}
    ended = Ledger(workspace.ledger).outcomes("download").values()
    assert sorted("gap" in o.message for o in ended if o.reason) == [False, True]
    # Dropped is dropped: the next run does not look again.
    assert run_stage("download", workspace, config=of(tree)).counts.dropped.total() == 2


def test_a_damaged_part_is_reported_before_anything_is_read(workspace, archives):
    part = archives / "vox2_dev_mp4_partab"
    part.write_bytes(part.read_bytes()[:-1] + b"?")
    config = of(archives, route="archives", checksums="md5.txt")
    with pytest.raises(CheckError, match="joined from 3 parts, has the MD5"):
        run_stage("download", workspace, config=config)


@pytest.mark.slow
def test_speakers_of_one_video_are_one_group_in_one_split(workspace, tree):
    shared = "Zz0Yy1Xx2Ww"  # of id00016
    fake_clip(tree / "dev/mp4/id00015" / shared / "00009.mp4", 99)
    for seed in range(6):
        config = DownloadConfig(
            corpus="voxceleb2", workers=0, seed=seed,
            voxceleb2=VoxCeleb2Config(root=str(tree), val_share=0.5),
        )  # fmt: skip
        run_stage("download", workspace, config=config)
        pair = [r for r in rows(workspace).values() if r.speaker[5:] in ("id00015", "id00016")]
        assert len({row.split for row in pair}) == 1
        assert {row.group for row in pair} == {"vox2-id00015"}


def test_a_wrong_copy_is_reported_in_one_sentence(workspace, tree, tmp_path):
    shutil.copytree(tree / "dev", tree / "vox2_dev")
    with pytest.raises(CheckError, match=r"is in .* twice"):
        run_stage("download", workspace, config=of(tree))
    shutil.rmtree(tree / "vox2_dev")
    fake_clip(tree / "dev/mp4/id09999/abcdefghijk/00001.mp4", 1)
    with pytest.raises(CheckError, match=r"not in .*vox2_meta\.csv, for example id09999"):
        run_stage("download", workspace, config=of(tree))
    (tree / "vox2_meta.csv").unlink()
    with pytest.raises(UsageError, match=r"vox2_meta\.csv is not below"):
        run_stage("download", workspace, config=of(tree))
    with pytest.raises(UsageError, match="has no zip archives"):
        run_stage("download", workspace, config=of(tree, route="archives"))


def test_the_number_of_speakers_per_part_can_be_limited(workspace, tree):
    run_stage("download", workspace, config=of(tree, max_speakers=1))
    assert len({row.speaker for row in rows(workspace).values()}) == 2
