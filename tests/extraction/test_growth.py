"""A set grows by new shards: old ones, and the lists of val and test, stay what they are."""

import hashlib

import numpy as np
import pytest
from typer.testing import CliRunner

from avsep.cli.app import app
from avsep.errors import CheckError, Reason
from avsep.extraction.provenance import clip_hash
from avsep.extraction.records import ClipRecord, save_finished_clip
from avsep.extraction.shard_plan import plan_shards, read_plan, write_plan
from avsep.files import sha256_file
from avsep.media.pcm import pcm_sha256
from avsep.schema import Clip, Landmarks, Sample
from avsep.shards.codecs import encode_sample
from avsep.shards.difference import compare_sets
from avsep.shards.manifest import batch_of
from avsep.shards.verify import verify_set
from avsep.tables import write_rows
from avsep.workspace import Workspace
from pipeline.stages import extract
from pipeline.stages.extract import ExtractConfig
from pipeline.stages.mix import MixConfig
from tests.support.stage_run import run_stage

FRAMES = 6
SPLIT_OF = {0: "train", 1: "train", 2: "val", 3: "val", 4: "test", 5: "test"}
EXTRACT = ExtractConfig(storage="plain", clips_per_shard=40, workers=0)
MIX = MixConfig(
    train_seconds=0.2, val_seconds=0.2, test_seconds=0.2, val_mixtures=5, test_mixtures=5, workers=0
)


def clip(number: int, **changes) -> Clip:
    speaker = number % 6
    values = {
        "clip_id": f"clip-{number:04d}", "corpus": "x", "speaker": f"s{speaker}",
        "group": f"s{speaker}", "gender": "fm"[speaker % 2], "split": SPLIT_OF[speaker],
        "path": "a.mp4", "sha256": "0" * 64, "size_bytes": 1, "licence": "CC0-1.0",
        "redistributable": True, "kept": True,
    }  # fmt: skip
    return Clip(**(values | changes))


def drawn(one: Clip) -> Sample:
    seed = int(hashlib.sha256(one.clip_id.encode()).hexdigest()[:8], 16)
    audio = np.random.default_rng(seed).normal(0, 2_000, FRAMES * 640).astype(np.int16)
    key = f"{one.clip_id}-t0"
    meta = {
        "version": 1, "key": key, "clip_id": one.clip_id, "corpus": one.corpus,
        "speaker": one.speaker, "group": one.group, "gender": one.gender, "split": one.split,
        "num_frames": FRAMES, "num_samples": len(audio), "multi_voice": False,
        "level_dbfs": -24.5, "audio_sha256": pcm_sha256(audio), "quality": {"missing_share": 0.0},
        "licence": one.licence, "redistributable": True, "text": "", "backend": {"name": "x"},
        "source": {"path": "a.mp4"},
    }  # fmt: skip
    landmarks = Landmarks(
        points=np.zeros((FRAMES, 68, 3), np.float16),
        valid=np.ones(FRAMES, np.uint8),
        score=np.ones(FRAMES, np.float16),
        box=np.zeros((FRAMES, 4), np.float32),
        to_mean_face=np.zeros((FRAMES, 2, 3), np.float32),
        crop_xy=np.zeros((FRAMES, 2), np.float32),
    )
    lips = np.zeros((FRAMES, 96, 96), np.uint8)
    return Sample(key=key, audio=audio, lips=lips, landmarks=landmarks, meta=meta)


def without_pictures(job) -> ClipRecord:
    """In place of `extract_clip`: a drawn sample, at once."""
    sample = drawn(job.clip)
    record = ClipRecord(
        clip_id=job.clip.clip_id,
        settings=clip_hash(job.config, job.clip),
        samples=((sample.key, FRAMES),),
    )
    return save_finished_clip(
        job.folder, record, [(sample.key, encode_sample(sample, "plain"), FRAMES)]
    )


@pytest.fixture
def project(tmp_path, monkeypatch):
    """Runs `extract` and `mix` over clips; returns the hashes of what they made."""
    monkeypatch.setattr(extract, "extract_clip", without_pictures)
    monkeypatch.setattr(extract, "check_backend", lambda *_: None)
    workspace = Workspace(tmp_path / "project")

    def run(clips, mix: MixConfig | None = MIX) -> dict[str, str]:
        write_rows(workspace.clips / "clips.parquet", sorted(clips, key=lambda c: c.clip_id), Clip)
        run_stage("extract", workspace, config=EXTRACT)
        if mix:
            run_stage("mix", workspace, config=mix)
        paths = [*workspace.shards.iterdir(), *workspace.mixtures.glob("*")]
        return {path.name: sha256_file(path) for path in sorted(paths)}

    run.workspace = workspace
    return run


@pytest.mark.slow
def test_ten_clips_more_than_two_hundred_leave_all_shards_and_lists_alone(project, tmp_path):
    first = project([clip(n) for n in range(200)])
    copy = tmp_path / "before"
    copy.mkdir()
    for path in project.workspace.shards.iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    # New clips of every split, those of val and test too.
    then = project([clip(n) for n in range(210)])
    tars = {name for name in first if name.endswith(".tar")}
    assert len(tars) == 6
    assert {name: then[name] for name in tars} == {name: first[name] for name in tars}
    new = {name for name in then if name.endswith(".tar")} - tars
    assert new == {f"{split}-b001-000000.tar" for split in ("train", "val", "test")}
    for name in ("val.jsonl", "test.jsonl"):
        assert then[name] == first[name]
    assert then["train.parquet"] != first["train.parquet"]
    assert verify_set(project.workspace.shards) == []
    difference = compare_sets(copy, project.workspace.shards)
    assert difference.shards.is_growth
    assert set(difference.shards.added) == new
    assert len(difference.samples.added) == 10
    said = CliRunner().invoke(
        app, ["shards", "diff", str(copy), str(project.workspace.shards), "--grown"]
    )
    assert said.exit_code == 0, said.output
    assert "shards: 6 the same, 3 new, 0 gone, 0 changed" in said.stdout


@pytest.mark.slow
def test_lists_grow_with_grow_lists(project):
    first = project([clip(n) for n in range(24)])
    then = project([clip(n) for n in range(36)], MixConfig(**(vars(MIX) | {"grow_lists": True})))
    assert then["test.jsonl"] != first["test.jsonl"]


@pytest.mark.slow
def test_a_killed_growth_plans_the_same_shards_again(project, monkeypatch):
    project([clip(n) for n in range(12)], None)
    clips = [clip(n) for n in range(18)]
    write_rows(project.workspace.clips / "clips.parquet", clips, Clip)
    planned = extract.plan(EXTRACT, project.workspace)

    def plan_again() -> str:
        """The plan, its rows compared as text: a level that was not measured is NaN."""
        return repr(extract.plan(EXTRACT, project.workspace))

    extract.work(EXTRACT, project.workspace, planned[-1], lambda _: None)  # and no finish
    assert plan_again() == repr(planned)
    project(clips, None)
    assert plan_again() == repr(planned)
    third = project([*clips, clip(18)], None)
    assert "train-b002-000000.tar" in third


@pytest.mark.slow
def test_without_the_plan_the_set_is_planned_anew(project):
    project([clip(n) for n in range(12)], None)
    project([clip(n) for n in range(18)], None)
    project.workspace.shard_plan.unlink()
    anew = project([clip(n) for n in range(18)], None)
    assert [n for n in anew if "-b001-" in n] == []
    assert list(project.workspace.work("extract").glob("*-b001-*")) == []


def test_clips_keep_their_place_and_a_changed_split_is_new(tmp_path):
    first = plan_shards([clip(n) for n in range(30)], [], 4)
    assert {row.batch for row in first} == {0}
    write_plan(tmp_path / "plan.parquet", first)
    before = read_plan(tmp_path / "plan.parquet")
    assert before == first
    # Another size concerns new shards only; clip 0 goes from train to val, clip 7 is gone.
    clips = [clip(0, split="val"), *(clip(n) for n in range(1, 40) if n != 7)]
    grown = plan_shards(clips, before, 100)
    place = {row.clip_id: row for row in grown}
    was = {row.clip_id: row for row in first}
    assert place["clip-0000"].shard == "val-b001-000000"
    assert "clip-0007" not in place
    assert all(place[f"clip-{n:04d}"] == was[f"clip-{n:04d}"] for n in range(1, 30) if n != 7)
    assert {row.batch for row in grown if int(row.clip_id[5:]) >= 30} == {1}
    assert plan_shards(clips, grown, 100) == grown
    assert [batch_of(name) for name in ("val-b012-000001.tar", "val-000001.tar")] == [12, 0]


def test_a_changed_set_has_not_just_grown(project, tmp_path):
    project([clip(n) for n in range(12)], None)
    copy = tmp_path / "before"
    project.workspace.shards.rename(copy)
    project([clip(n, licence="other") if n == 0 else clip(n) for n in range(1, 13)], None)
    difference = compare_sets(copy, project.workspace.shards)
    assert not difference.shards.is_growth
    assert difference.samples.removed == ("clip-0000-t0",)
    said = CliRunner().invoke(
        app, ["shards", "diff", str(copy), str(project.workspace.shards), "--grown"]
    )
    assert isinstance(said.exception, CheckError)


def test_the_card_lists_the_contents_and_what_was_left_out(project):
    silent = clip(12, kept=False, reason=str(Reason.SILENT))
    project([*(clip(n, licence="CC | BY") for n in range(12)), silent], None)
    card = (project.workspace.shards / "card.md").read_text("utf-8")
    manifest_hashes = [sha256_file(path) for path in sorted(project.workspace.shards.glob("*.tar"))]
    assert "| train | 4 | 0.000 | 2 | 2 | 1 | 1 | 0 |" in card
    assert "| x | CC \\| BY | yes | 12 |" in card
    assert "| clean | `silent` | 1 |" in card
    assert all(value in card for value in manifest_hashes)
