"""GRID, Lombard GRID and CREMA-D from copies as `avsep fetch` and people make them."""

import shutil
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest

from avsep.corpora import zip_corpus
from avsep.corpora.catalogue import open_corpus
from avsep.corpora.config import CremaDConfig, GridConfig, LombardGridConfig
from avsep.corpora.grid import word_times_s
from avsep.corpora.grid_names import GRID_ALIGNMENT, MISFILED, words_of
from avsep.errors import CheckError, ItemError, Reason, UsageError
from avsep.schema import RawClip
from avsep.tables import read_rows
from avsep.workspace import Workspace
from pipeline.amounts import find_amounts
from pipeline.stages.download import DownloadConfig
from tests.support import open_corpora
from tests.support.open_corpora import GITHUB, alignment, zip_of
from tests.support.stage_run import run_stage

SPEAKERS = ("s1", "s4", "s5", "s6", "s7", "s10", "s11")


@pytest.fixture
def workspace(tmp_path):
    return Workspace(tmp_path / "project")


@pytest.fixture
def grid(tmp_path):
    """A copy of archives, as `avsep fetch grid` makes it."""
    served = SimpleNamespace(files={})
    open_corpora.serve_grid(served, SPEAKERS)
    return put(tmp_path / "grid", served)


@pytest.fixture
def lombard(tmp_path):
    served = SimpleNamespace(files={})
    open_corpora.serve_lombard(served, ("s2", "s3", "s55"))
    copy = put(tmp_path / "lombard", served)
    (copy / "lombardgrid_audio.zip").unlink()
    return copy


@pytest.fixture
def crema_d(tmp_path):
    served = SimpleNamespace(files={})
    open_corpora.serve_crema_d(served, ("1001", "1002", "1003", "1004"))
    folder = tmp_path / "crema-d"
    (folder / "VideoFlash").mkdir(parents=True)
    for name, content in served.files.items():
        if name.startswith("media/") or name.endswith(".csv"):
            (folder / name.partition("master/")[2]).write_bytes(content)
    return folder


def put(folder, served) -> Path:
    folder.mkdir()
    for name, content in served.files.items():
        if name.endswith(".zip"):
            (folder / Path(name).name).write_bytes(content)
    return folder


def of(corpus: str, root, share=0.0, **settings) -> DownloadConfig:
    cls = {"grid": GridConfig, "lombard-grid": LombardGridConfig, "crema-d": CremaDConfig}[corpus]
    section = {corpus.replace("-", "_"): cls(root=str(root), **settings)}
    return DownloadConfig(corpus=corpus, workers=0, max_failed_share=share, **section)


def run(workspace, corpus, root, **settings) -> dict[str, RawClip]:
    run_stage("download", workspace, config=of(corpus, root, **settings))
    return {row.origin: row for row in read_rows(workspace.raw_table, RawClip)}


def test_an_alignment_in_an_archive_is_read_up_to_a_size(grid, workspace, monkeypatch):
    corpus = open_corpus(of("grid", grid), workspace, None)
    _, file = next(corpus.find(GRID_ALIGNMENT))
    assert file.member is not None
    assert corpus.read(file).endswith(b"sil\n")
    monkeypatch.setattr(zip_corpus, "MAX_SMALL_BYTES", 20)
    with pytest.raises(ItemError, match="at most 20 are read"):
        corpus.read(file)


def extract(archive: Path, folder: Path) -> None:
    with zipfile.ZipFile(archive) as opened:
        opened.extractall(folder)
    archive.unlink()


def test_grid_has_its_text_its_times_its_genders_and_its_licence(workspace, grid):
    rows = run(workspace, "grid", grid)
    assert len(rows) == 4 * len(SPEAKERS)
    for origin, row in rows.items():
        speaker, code = origin.split("/")
        assert row.words == words_of(code)
        assert row.text == " ".join(words_of(code))
        assert row.word_times_s[0] == pytest.approx(3 / 8, abs=0.001)
        assert row.word_times_s[-1] == pytest.approx(3 * 7 / 8, abs=0.001)
        assert row.gender == ("f" if speaker in ("s4", "s7", "s11") else "m")
        assert row.redistributable
        assert "Cooke" in row.licence
        assert (workspace.raw / row.path).is_file()


def test_speakers_of_grid_are_held_out_and_keep_their_split(workspace, grid):
    def splits(rows) -> dict[str, str]:
        found: dict[str, set[str]] = {}
        for row in rows.values():
            found.setdefault(row.speaker, set()).add(row.split)
        assert all(len(of_one) == 1 for of_one in found.values())
        return {speaker: min(of_one) for speaker, of_one in found.items()}

    first = splits(run(workspace, "grid", grid, val_share=0.2, test_share=0.2))
    assert sorted(first.values()).count("test") >= 2
    assert sorted(first.values()).count("val") >= 2


def test_archives_extracted_folders_and_some_of_each_give_the_same_clips(workspace, grid, tmp_path):
    before = run(workspace, "grid", grid)
    extract(grid / "s4.zip", grid)
    mixed = run(workspace, "grid", grid)
    for archive in list(grid.glob("*.zip")):
        extract(archive, grid / "deeper" / "down")
    tree = run(workspace, "grid", grid)
    assert before == mixed == tree
    assert all((workspace.raw / row.path).is_symlink() for row in tree.values())


def test_alignments_in_the_folder_of_another_speaker_are_found_by_their_codes(grid, workspace):
    extract(grid / "alignments.zip", grid)
    assert (grid / "alignments" / MISFILED["s5"]).is_dir()
    # A release that files all of them rightly is read too.
    for speaker in ("s5", "s6"):
        (grid / "alignments" / MISFILED[speaker]).rename(grid / f"{speaker}-aside")
    for speaker in ("s5", "s6"):
        (grid / f"{speaker}-aside").rename(grid / "alignments" / speaker)
    rows = run(workspace, "grid", grid)
    assert all(row.words for row in rows.values())
    shutil.rmtree(grid / "alignments" / "s5")
    with pytest.raises(CheckError, match="no folder of the alignments has the sentences of s5"):
        run(workspace, "grid", grid)
    shutil.rmtree(grid / "alignments")
    rows = run(workspace, "grid", grid)
    assert all(row.text and not row.words for row in rows.values())


@pytest.mark.parametrize(
    "content",
    [
        b"", b"0 1 sil\n", b"0 100 bin\nnonsense\n", b"0 x bin\n", b"\xff\xfe", b"5 3 bin\n",
        alignment("lrwp9a", 1000), b"-5 3 bin\n", alignment("bbaf2n", 1000).replace(b"two", b"six"),
    ],
)  # fmt: skip
def test_a_wrong_alignment_is_recognised(content):
    with pytest.raises(ItemError) as caught:
        word_times_s(content, "bbaf2n")
    assert caught.value.reason is Reason.BAD_ANNOTATION


def test_both_units_of_the_alignments_give_the_same_times():
    old, new = (word_times_s(alignment("bbaf2n", unit), "bbaf2n") for unit in (25_000, 1000))
    assert old == pytest.approx(new, abs=0.001)
    assert new[-1] < 3


def test_a_code_is_its_sentence():
    assert " ".join(words_of("bbaf2n")) == "bin blue at f two now"
    assert " ".join(words_of("swiz9s")) == "set white in z nine soon"
    assert " ".join(words_of("pgbazp")) == "place green by a zero please"


def test_a_pinned_checksum_is_compared_before_an_archive_is_read(workspace, grid):
    (grid / "md5.txt").write_text(f"{'0' * 32}  s4.zip\n")
    with pytest.raises(CheckError, match=r"s4\.zip has the MD5"):
        run(workspace, "grid", grid)


def test_a_plan_hashes_no_archive_and_writes_nothing(workspace, grid):
    (grid / "md5.txt").write_text(f"{'0' * 32}  s4.zip\n")
    found = find_amounts(of("grid", grid), workspace)
    assert found.clips == 4 * len(SPEAKERS)
    assert not workspace.root.exists()


def test_what_is_not_grid_is_said(workspace, tmp_path, grid):
    with pytest.raises(UsageError, match="`avsep fetch grid` downloads one"):
        run(workspace, "grid", tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match=r"no clips sN/<six characters>\.mpg"):
        run(workspace, "grid", tmp_path / "empty")
    (grid / "s21.zip").write_bytes(zip_of({"s21/bbaf2n.mpg": b"x"}))
    with pytest.raises(CheckError, match="without s21"):
        run(workspace, "grid", grid)
    (grid / "s21.zip").write_bytes(b"cut")
    with pytest.raises(CheckError, match=r"s21\.zip is not a complete zip"):
        run(workspace, "grid", grid)


def test_hostile_members_of_an_archive_of_the_user_are_not_taken(workspace, grid, tmp_path):
    bad = dict.fromkeys(("../s4/bbaf2n.mpg", "/s4/bbaf2n.mpg", "s4/../s4/bbaf2n.mpg"), b"bad")
    (grid / "more.zip").write_bytes(zip_of(bad))
    report = run_stage("download", workspace, config=of("grid", grid))
    assert report.counts.done == 4 * len(SPEAKERS)
    assert str(report.facts["left out"]).startswith("3 file(s) not named as clips, such as ")


def test_lombard_grid_has_one_view_and_no_wrong_sentences(workspace, lombard):
    rows = run(workspace, "lombard-grid", lombard, test_share=1.0, val_share=0.0)
    assert len(rows) == 9
    assert {row.split for row in rows.values()} == {"test"}
    assert all(origin.startswith("front/") for origin in rows)
    plain = run(workspace, "lombard-grid", lombard, view="side", speech=("plain",))
    assert {origin[:5] for origin in plain} == {"side/"}
    assert all("_p_" in origin for origin in plain)
    wrong = run(workspace, "lombard-grid", lombard, wrong=True)
    assert len(wrong) == 12
    assert sorted(bool(row.text) for row in wrong.values()) == [False] * 3 + [True] * 9


def test_crema_d_has_the_sex_of_its_actors_and_its_sentences(workspace, crema_d):
    rows = run(workspace, "crema-d", crema_d)
    assert len(rows) == 12
    assert rows["1001_IEO_NEU_XX"].gender == "m"
    assert rows["1002_TIE_ANG_XX"].gender == "f"
    assert rows["1002_TIE_ANG_XX"].text == "That is exactly what happened"
    assert "ODbL" in rows["1001_IEO_NEU_XX"].licence
    calm = run(workspace, "crema-d", crema_d, emotions=("NEU",))
    assert {origin.split("_")[2] for origin in calm} == {"NEU"}


def test_a_clone_without_its_large_files_is_recognised(workspace, crema_d):
    served = SimpleNamespace(files={})
    open_corpora.serve_crema_d(served, ("1001",))
    pointer = served.files[f"{GITHUB}/VideoFlash/1001_IEO_NEU_XX.flv"]
    (crema_d / "VideoFlash" / "1001_IEO_NEU_XX.flv").write_bytes(pointer)
    with pytest.raises(UsageError, match=r"1 clips, .*git lfs pull"):
        run(workspace, "crema-d", crema_d)


def test_wrong_lists_and_names_of_crema_d_are_said(workspace, crema_d):
    (crema_d / "VideoFlash" / "1099_IEO_NEU_XX.flv").write_bytes(b"x" * 2000)
    with pytest.raises(CheckError, match="1099"):
        run(workspace, "crema-d", crema_d)
    for text, words in (
        ("Actor,Sex\n1001,Male\n", "lacks the column"), ("ActorID,Sex\n1001,x\n", "line 2"),
        ("ActorID,Sex\n../x,Male\n", "line 2"), ("", "lacks the column"),
    ):  # fmt: skip
        (crema_d / "VideoDemographics.csv").write_text(text)
        with pytest.raises(UsageError, match=words):
            run(workspace, "crema-d", crema_d)
    (crema_d / "VideoDemographics.csv").unlink()
    with pytest.raises(UsageError, match="is missing"):
        run(workspace, "crema-d", crema_d)
