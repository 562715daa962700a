"""extract: every clip ends, bytes do not depend on how it was run, nothing is done twice."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from avsep.errors import CheckError, Reason, State, UsageError
from avsep.extraction.clip import clip_samples
from avsep.extraction.clip_job import ClipJob, extract_clip
from avsep.extraction.config import ExtractionConfig
from avsep.extraction.multi_voice import AT_ONCE
from avsep.faces.config import FacesConfig
from avsep.files import sha256_file
from avsep.schema import Clip
from avsep.settings import build
from avsep.shards.reader import ShardStore
from avsep.shards.verify import verify_set
from avsep.tables import write_rows
from avsep.workspace import Workspace
from pipeline.execution.markers import clear_failures
from pipeline.stages import extract
from pipeline.stages.extract import ExtractConfig
from tests.support.stage_run import run_stage

pytestmark = pytest.mark.slow

FRAMES = 28
HERE = ExtractConfig(workers=0, clips_per_shard=2, max_failed_share=0.5)


@pytest.fixture(scope="session")
def talks():
    """Two short clips of two drawn heads: frames (28, 224, 224, 3) and sound."""
    from avsep.corpora.demo.corpus import DemoClip, talk

    prepared = [
        talk(DemoClip(speaker=speaker, number=0), seed=1, num_frames=FRAMES) for speaker in (0, 1)
    ]
    return [(np.stack([picture for picture, _ in one.frames]), one.audio) for one in prepared]


@pytest.fixture(scope="session")
def raw(tmp_path_factory, talks):
    """A folder of raw clips: two talkers, a third cut of the first, both at once, and a wall."""
    from avsep.media.encode import write_mp4

    folder = tmp_path_factory.mktemp("raw")
    (one, one_sound), (two, two_sound) = talks
    both = np.concatenate([one, two], axis=2)
    clips = {
        "one": (one, one_sound),
        "two": (two, two_sound),
        "three": (one[:, :, ::-1], one_sound),
        "both": (both, one_sound // 2 + two_sound // 2),
        "wall": (np.full_like(one, 90), one_sound),
    }
    for name, (frames, sound) in clips.items():
        write_mp4(folder / f"{name}.mp4", frames, sound)
    return folder


@pytest.fixture
def project(tmp_path, raw):
    """A factory of workspaces whose `clips.parquet` lists some of the raw clips."""

    def make(*names: str, root: Path = tmp_path) -> Workspace:
        workspace = Workspace(root)
        workspace.raw.mkdir(parents=True, exist_ok=True)
        for name in names:
            target = workspace.raw / f"{name}.mp4"
            if not target.exists():
                target.write_bytes((raw / f"{name}.mp4").read_bytes())
        write_rows(workspace.clips / "clips.parquet", [clip_row(raw, name) for name in names])
        return workspace

    return make


def clip_row(raw: Path, name: str) -> Clip:
    path = raw / f"{name}.mp4"
    return Clip(
        clip_id=f"test-{name}",
        corpus="test",
        speaker=f"speaker-{name}",
        group=f"speaker-{name}",
        gender="",
        split="test" if name == "two" else "train",
        path=path.name,
        sha256=sha256_file(path),
        size_bytes=path.stat().st_size,
        licence="CC0-1.0",
        text="hello",
        kept=True,
        start_s=0.0,
        end_s=FRAMES / 25,
        width=224,
        height=224,
        fps=25.0,
        audio_rate_hz=16000,
        channels=1,
    )


def hashes(workspace: Workspace) -> dict[str, str]:
    return {path.name: sha256_file(path) for path in sorted(workspace.shards.iterdir())}


@pytest.mark.parametrize(
    ("options", "stored"),
    [
        (
            {"engine": "torch", "device": "cpu", "batch": 4},
            {"engine": "torch", "precision": "float", "batch": 4, "window": 8},
        ),
        ({"engine": "openvino"}, {"engine": "openvino", "window": 4}),
    ],
    ids=["torch", "openvino"],
)
def test_an_engine_gives_the_bytes_of_one_process_in_all(project, tmp_path, options, stored):
    if find_spec(options["engine"]) is None:
        pytest.skip("extra `openvino`")
    config = replace(HERE, backend_options=options)
    here, pool = (project("one", "two", root=tmp_path / name) for name in ("here", "pool"))
    run_stage("extract", here, config=config)
    run_stage("extract", pool, config=replace(config, workers=2))
    assert hashes(here) == hashes(pool)
    assert ShardStore(pool.shards).meta("test-one-t0")["backend"]["options"] == stored


def count_extractions(monkeypatch) -> list[str]:
    """The clip ids that are extracted from now on."""
    seen = []
    original = extract.extract_clip
    monkeypatch.setattr(
        extract, "extract_clip", lambda job: seen.append(job.clip.clip_id) or original(job)
    )
    return seen


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory, raw):
    """The files of an unbroken run over four clips, by name."""
    workspace = Workspace(tmp_path_factory.mktemp("unbroken"))
    names = ("one", "two", "three", "wall")
    workspace.raw.mkdir(parents=True)
    for name in names:
        (workspace.raw / f"{name}.mp4").write_bytes((raw / f"{name}.mp4").read_bytes())
    write_rows(workspace.clips / "clips.parquet", [clip_row(raw, name) for name in names])
    run_stage("extract", workspace, config=replace(HERE, workers=2))
    return workspace


def test_two_workers_and_none_give_the_same_bytes_in_another_folder(project, unbroken):
    workspace = project("one", "two", "three", "wall")
    run_stage("extract", workspace, config=HERE)
    assert hashes(workspace) == hashes(unbroken)
    tars = ["test-000000.tar", "train-000000.tar"]  # that of the wall would be empty
    indexes = ["index.arrow", "index.parquet"]
    assert list(hashes(workspace)) == ["card.md", *indexes, "manifest.json", *tars]


def test_shards_are_whole_and_hold_what_the_clip_shows(unbroken, talks):
    assert verify_set(unbroken.shards, deep=True) == []
    store = ShardStore(unbroken.shards)
    assert [row.key for row in store.index] == ["test-two-t0", "test-one-t0", "test-three-t0"]
    sample = store.sample("test-one-t0")
    assert sample.num_frames == FRAMES
    assert sample.meta["multi_voice"] is False
    assert sample.meta["source"]["path"] == "one.mp4"
    assert (sample.landmarks.valid == 1).mean() > 0.95
    # AAC changes samples, but it must not shift them: 16 kHz sound stays where it was
    sound = talks[0][1].astype(float)
    lags = {lag: float(np.dot(np.roll(sound, lag), sample.audio)) for lag in range(-40, 41)}
    assert max(lags, key=lags.__getitem__) == 0
    row = store.row("test-one-t0")
    assert -60 < row.level_dbfs < 0
    assert row.quality["face_px"] > 60
    assert row.text == "hello"


def test_killed_and_run_again_gives_the_bytes_of_an_unbroken_run(project, unbroken, monkeypatch):
    workspace = project("one", "two", "three", "wall")
    script = (
        "import sys; from pathlib import Path; from tests.support.stage_run import run_stage;"
        "from avsep.workspace import Workspace; from pipeline.stages.extract import ExtractConfig;"
        "run_stage('extract', Workspace(Path(sys.argv[1])),"
        "config=ExtractConfig(workers=1, clips_per_shard=2, max_failed_share=0.5))"
    )
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    killed = subprocess.Popen(
        [sys.executable, "-c", script, str(workspace.root)], env=environment, start_new_session=True
    )
    limit = time.monotonic() + 240
    folder = workspace.work("extract")
    while not list(folder.glob("*.clips/*.json")):
        assert killed.poll() is None
        assert time.monotonic() < limit
        time.sleep(0.005)
    killed.kill()
    assert killed.wait() == -signal.SIGKILL
    assert not workspace.shards.exists()
    done = {path.stem for path in folder.glob("*.clips/*.json")}
    assert done
    (folder / "train-000001.clips").mkdir(exist_ok=True)
    (folder / "train-000001.clips" / ".half.tmp.tar").write_bytes(b"half a file")
    extracted = count_extractions(monkeypatch)
    run_stage("extract", workspace, config=HERE)
    assert done.isdisjoint(extracted)
    assert hashes(workspace) == hashes(unbroken)
    names = {path.name.partition(".")[2] for path in folder.iterdir()}
    assert names == {"tar", "clips.json", "done.json"}


def test_second_run_does_nothing_and_publishes_the_same(project, monkeypatch):
    workspace = project("one", "wall")
    run_stage("extract", workspace, config=HERE)
    before = hashes(workspace)
    (workspace.raw / "one.mp4").unlink()  # shards alone are complete
    extracted = count_extractions(monkeypatch)
    report = run_stage("extract", workspace, config=HERE)
    assert extracted == []
    assert hashes(workspace) == before
    assert (report.counts.done, dict(report.counts.dropped)) == (1, {"no_face": 1})


def test_every_bad_clip_ends_with_a_reason(project):
    workspace = project("one", "two", "three", "wall")
    (workspace.raw / "two.mp4").unlink()
    (workspace.raw / "three.mp4").write_bytes(b"other content")
    batches = extract.plan(HERE, workspace)
    outcomes = {
        outcome.item: outcome
        for batch in batches
        for outcome in extract.work(HERE, workspace, batch, lambda _: None)
    }
    assert {item: outcome.reason for item, outcome in outcomes.items()} == {
        "test-one": None,
        "test-two": Reason.FILE_MISSING,
        "test-three": Reason.FILE_CHANGED,
        "test-wall": Reason.NO_FACE,
    }
    assert "`avsep run download` gets it" in outcomes["test-two"].message
    assert outcomes["test-wall"].state is State.DROPPED
    with pytest.raises(CheckError, match=r"2 of 4 items failed"):
        run_stage("extract", workspace, config=replace(HERE, max_failed_share=0.4))


def test_failed_clips_are_retried_alone(project, raw, unbroken, monkeypatch):
    workspace = project("one", "two", "three", "wall")
    (workspace.raw / "three.mp4").unlink()
    run_stage("extract", workspace, config=HERE)
    (workspace.raw / "three.mp4").write_bytes((raw / "three.mp4").read_bytes())
    extracted = count_extractions(monkeypatch)
    run_stage("extract", workspace, config=HERE)
    assert extracted == []  # a failed clip stays failed until somebody asks
    clear_failures("extract", workspace)
    run_stage("extract", workspace, config=HERE)
    assert extracted == ["test-three"]
    assert hashes(workspace) == hashes(unbroken)


def test_changed_settings_and_damaged_shards_are_done_again(project, monkeypatch):
    workspace = project("one")
    run_stage("extract", workspace, config=HERE)
    before = hashes(workspace)
    extracted = count_extractions(monkeypatch)
    shard = workspace.work("extract") / "train-000000.tar"
    content = bytearray(shard.read_bytes())
    content[5000] ^= 1
    shard.unlink()
    shard.write_bytes(content)
    run_stage("extract", workspace, config=HERE)
    assert extracted == ["test-one"]
    assert hashes(workspace) == before
    run_stage("extract", workspace, config=replace(HERE, lips_crf=30))
    assert extracted == ["test-one"] * 2
    assert hashes(workspace) != before


def test_a_clip_that_was_damaged_while_it_waited_is_done_again(project, raw, monkeypatch):
    workspace = project("one")
    (batch,) = extract.plan(HERE, workspace)
    parts = workspace.work("extract") / f"{batch.name}.clips"
    job = ClipJob(clip=clip_row(raw, "one"), raw=raw, folder=parts, config=HERE)
    extract_clip(job)
    extracted = count_extractions(monkeypatch)
    waiting = parts / "test-one.tar"
    content = bytearray(waiting.read_bytes())
    content[len(content) // 2] ^= 1
    waiting.write_bytes(content)
    run_stage("extract", workspace, config=HERE)
    assert extracted == ["test-one"]
    assert verify_set(workspace.shards, deep=True) == []


def test_stale_files_are_removed(project):
    workspace = project("one", "two")
    run_stage("extract", workspace, config=HERE)
    (workspace.shards / "notes.txt").write_text("x")
    workspace = project("one")
    run_stage("extract", workspace, config=HERE)
    names = sorted(path.name for path in workspace.work("extract").iterdir())
    assert names == ["train-000000.clips.json", "train-000000.done.json", "train-000000.tar"]
    assert list(hashes(workspace)) == [
        "card.md",
        "index.arrow",
        "index.parquet",
        "manifest.json",
        "train-000000.tar",
    ]


def test_a_late_face_gets_its_own_part_of_the_sound(tmp_path, talks, raw):
    from avsep.faces.timing import StepTimer
    from avsep.media.decode import read_audio
    from avsep.media.encode import write_mp4

    frames, sound = talks[0]
    path, wait = tmp_path / "late.mp4", 16
    quiet = np.zeros(wait * 640, np.int16)
    empty = np.full((wait, *frames.shape[1:]), 90, np.uint8)
    write_mp4(path, np.concatenate([empty, frames]), np.concatenate([quiet, sound]))
    clip = replace(clip_row(raw, "one"), end_s=(wait + FRAMES) / 25)
    (sample,) = clip_samples(path, clip, ExtractionConfig(), StepTimer())
    first = sample.meta["first_frame"]
    assert wait <= first <= wait + 2
    expected = read_audio(path, first / 25, 640 * sample.num_frames)
    np.testing.assert_array_equal(sample.audio, expected)


def test_two_faces_give_two_samples_and_both_may_contain_two_voices(project):
    workspace = project("both")
    run_stage("extract", workspace, config=replace(HERE, storage="plain"))
    store = ShardStore(workspace.shards)
    assert [row.key for row in store.index] == ["test-both-t0", "test-both-t1"]
    assert all(row.multi_voice for row in store.index)
    assert store.meta("test-both-t0")["multi_voice_reasons"] == [AT_ONCE]


def test_a_set_of_dropped_clips_only_is_empty_and_valid_and_stops_the_run(project):
    workspace = project("wall")
    with pytest.raises(CheckError, match=r"no clip gives a sample .*no_face 1"):
        run_stage("extract", workspace, config=HERE)
    assert list(workspace.shards.glob("*.tar")) == []
    assert verify_set(workspace.shards) == []
    assert len(ShardStore(workspace.shards)) == 0


def test_a_set_without_any_kept_clip_is_empty_and_valid_and_stops_the_run(project, raw):
    workspace = project("one")
    rejected = replace(clip_row(raw, "one"), kept=False, reason="silent")
    write_rows(workspace.clips / "clips.parquet", [rejected])
    with pytest.raises(CheckError, match="no clip gives a sample"):
        run_stage("extract", workspace, config=HERE)
    assert verify_set(workspace.shards) == []


def test_clips_that_clean_rejected_are_left_out(project, raw):
    workspace = project("one")
    rejected = replace(clip_row(raw, "two"), kept=False, reason="silent")
    write_rows(workspace.clips / "clips.parquet", [clip_row(raw, "one"), rejected])
    assert [batch.items for batch in extract.plan(HERE, workspace)] == [("test-one",)]


def test_a_path_cannot_lead_out_of_the_raw_folder(project, raw):
    workspace = project("one")
    outside = replace(clip_row(raw, "one"), path="../clips/clips.parquet")
    write_rows(workspace.clips / "clips.parquet", [outside])
    batch = extract.plan(HERE, workspace)[0]
    (outcome,) = extract.work(HERE, workspace, batch, lambda _: None)
    assert outcome.reason is Reason.UNREADABLE  # as in `clean`
    assert "leads out of the raw folder" in outcome.message


@pytest.mark.parametrize(
    ("backend", "options", "sentence"),
    [
        ("mediapipe", {"speed": 2}, "mediapipe has no option speed; it has batch, device"),
        ("mediapipe", {"engine": "torch", "device": "none"}, "'none' cannot be used"),
        (
            "face_alignment",
            {"speed": 2},
            "face_alignment has no option speed; it has batch, device",
        ),
        ("face_alignment", {"weights": "/nowhere"}, "lacks s3fd-.* in /nowhere"),
    ],
)
def test_a_backend_that_cannot_work_stops_the_stage_before_any_clip(
    project, backend, options, sentence
):
    workspace = project("one")
    config = replace(HERE, backend=backend, backend_options=options)
    with pytest.raises(UsageError, match=sentence):
        run_stage("extract", workspace, config=config)


@pytest.mark.parametrize(
    "values", [{"clips_per_shard": 0}, {"lips_crf": 0}, {"workers": -1}, {"item_timeout_s": 0}]
)
def test_nonsense_settings_are_refused_with_a_sentence(values):
    with pytest.raises(ValueError, match=next(iter(values))):
        ExtractConfig(**values)


def test_settings_can_be_written_in_yaml():
    values = {"storage": "plain", "faces": {"detect_every": 4}, "backend_options": {}}
    config = build(ExtractConfig, values, "extract")
    assert config.faces == FacesConfig(detect_every=4)
