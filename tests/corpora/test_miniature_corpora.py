"""Each corpus from its official layout to shards, by the commands that a user types."""

import shutil
from pathlib import Path

import pytest
import yaml

from avsep.cli.app import app
from avsep.corpora.demo import corpus as demo
from avsep.corpora.demo.corpus import DemoClip
from avsep.media.encode import write_mp4
from avsep.schema import Clip
from avsep.shards.index import read_index
from avsep.shards.reader import open_shards
from avsep.tables import read_rows
from avsep.workspace import Workspace
from pipeline.execution.ledger import Ledger
from tests.support import miniature, open_corpora
from tests.support.file_server import serving_files
from tests.support.other_containers import converted

ROOT = Path(__file__).parents[2]
FRAMES = 34
NUM_CLIPS = 14

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def talking_heads(tmp_path_factory) -> list[Path]:
    """Short clips of the demo corpus, each of its own speaker or sentence."""
    folder = tmp_path_factory.mktemp("heads")
    paths = []
    for number in range(NUM_CLIPS):
        clip = DemoClip(speaker=number % 2, number=number)
        talk = demo.talk(clip, seed=0, size=160, num_frames=FRAMES)
        paths.append(folder / f"{number}.mp4")
        write_mp4(paths[-1], (picture for picture, _ in talk.frames), talk.audio)
    return paths


@pytest.fixture
def writer(talking_heads):
    """Copies the next talking head to the path of a clip."""
    heads = iter(talking_heads)

    def put(path: Path, _number: int) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(next(heads), path)

    return put


def avsep(*arguments: str) -> None:
    app(list(arguments), standalone_mode=False)


def run_to_shards(project: Path, profile: str, **settings) -> Workspace:
    shutil.copytree(ROOT / "profiles", project / "profiles")
    (project / "params.yaml").touch()  # what makes a folder a project
    avsep("profile", "use", profile, "--root", str(project))
    params = yaml.safe_load((project / "params.yaml").read_text())
    params["download"][profile] |= settings
    params["clean"] |= {"min_duration_s": 1.0}
    for stage in ("download", "clean", "extract"):
        params[stage]["workers"] = 0
    (project / "params.yaml").write_text(yaml.safe_dump(params))
    for stage in ("download", "clean", "extract"):
        avsep("run", stage, "--root", str(project))
    avsep("verify", str(project / "data" / "shards"), "--deep")
    avsep("ledger", "check", "--deep", "--root", str(project))
    return Workspace(project)


def test_voxceleb2_from_archives_in_parts(tmp_path, writer):
    miniature.vox2_archives(tmp_path / "copy", tmp_path / "scratch", writer)
    shutil.rmtree(tmp_path / "scratch")
    workspace = run_to_shards(
        tmp_path / "project", "voxceleb2",
        root=str(tmp_path / "copy"), route="archives", checksums="md5.txt", val_share=0.7,
    )  # fmt: skip
    clips = read_rows(workspace.clips / "clips.parquet", Clip)
    assert len(clips) == NUM_CLIPS
    rows = read_index(workspace.shards)
    assert {row.split for row in rows} == {"train", "val", "test"}
    assert {row.quality["asd_conf"] for row in rows} == {4.5}
    assert (
        len(rows)
        == sum(clip.kept for clip in clips)
        == Ledger(workspace.ledger).counts("extract").done
    )
    sample = next(iter(open_shards(workspace.shards)))
    assert sample.meta["origin"].startswith("id000")
    assert sample.meta["annotation"]["fv_conf"] == 17.812
    assert not sample.meta["redistributable"]


def test_lrs2_by_its_lists(tmp_path, writer):
    copy = miniature.lrs2_copy(tmp_path / "copy", writer)
    workspace = run_to_shards(
        tmp_path / "project", "lrs2", root=str(copy), check_counts=False, pretrain=True
    )
    samples = {sample.meta["origin"]: sample for sample in open_shards(workspace.shards)}
    assert len(samples) == 9
    [pretrain] = [name for name in samples if name.startswith("pretrain")]
    assert samples[pretrain].meta["words"] == [["GOOD", 0.1, 0.42], ["EVENING", 0.42, 0.98]]
    assert {s.meta["text"] for s in samples.values()} == {"HELLO AND WELCOME", "GOOD EVENING"}


def test_lrs3_with_its_validation_list(tmp_path, writer):
    copy = miniature.lrs3_copy(tmp_path / "copy", writer)
    lines = (copy / "lrs3-valid.id").read_text().splitlines()
    (copy / "lrs3-valid.id").write_text(lines[0] + "\n")  # its talk has another clip
    workspace = run_to_shards(
        tmp_path / "project", "lrs3", root=str(copy), check_counts=False, val_list="lrs3-valid.id"
    )
    clips = read_rows(workspace.clips / "clips.parquet", Clip)
    dropped = [clip for clip in clips if not clip.kept]
    assert [clip.origin for clip in dropped] == ["trainval/0Fi83BHQsMA/50002"]
    assert "in the val split too" in dropped[0].message
    assert len(read_index(workspace.shards)) == 7


OPEN = {
    "grid": (open_corpora.serve_grid, ("s1", "s4"), "CC-BY-4.0: GRID"),
    "lombard-grid": (open_corpora.serve_lombard, ("s2", "s55"), "CC-BY-4.0: Lombard GRID"),
    "crema-d": (open_corpora.serve_crema_d, ("1001", "1002"), "ODbL-1.0"),
}


@pytest.mark.parametrize("name", OPEN)
def test_open_corpora_from_a_server_with_their_layout(tmp_path, talking_heads, name, monkeypatch):
    serve, speakers, licence = OPEN[name]
    with serving_files() as server:
        serve(server, speakers, 1, lambda n, suffix: converted(talking_heads[n], suffix))
        monkeypatch.chdir(tmp_path)
        avsep("fetch", name, "--clips", "1", "--server", server.base, "--speakers", {
            "grid": "s1,s4", "lombard-grid": "s2,s55", "crema-d": "2",
        }[name])  # fmt: skip
    workspace = run_to_shards(tmp_path / "project", name, root=str(tmp_path / name))
    samples = list(open_shards(workspace.shards))
    assert {sample.meta["speaker"] for sample in samples} == {f"{name}-{s}" for s in speakers}
    for sample in samples:
        assert sample.meta["licence"].startswith(licence)
        assert sample.meta["redistributable"] is True
        assert sample.meta["text"]
        assert bool(sample.meta.get("words")) == (name == "grid")
        assert abs(sample.audio.astype(int)).max() > 1000
    assert licence in (workspace.shards / "card.md").read_text()
