import shutil
from dataclasses import replace

import pytest

from avsep.cleaning import check_clip as checking
from avsep.errors import CheckError, Reason, State, UsageError
from avsep.files import read_json, sha256_file
from avsep.progress import no_progress
from avsep.schema import Clip, RawClip
from avsep.settings import build
from avsep.tables import read_rows, write_rows
from avsep.workspace import Workspace
from pipeline.execution.ledger import Ledger
from pipeline.execution.markers import clear_failures
from pipeline.stages import clean
from pipeline.stages.clean import CleanConfig
from tests.support.clip_maker import make_clip, moving_pictures, raw_clip, speech_like
from tests.support.stage_run import run_stage

HERE = CleanConfig(workers=0, batch_size=3, max_failed_share=0.5)


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    """Six short clips: four good ones, a silent one, and one that is not a video."""
    folder = tmp_path_factory.mktemp("clips")
    for number in range(5):
        make_clip(
            folder / f"{number}.mp4",
            pictures=moving_pictures(30, seed=number),
            audio=speech_like(1.2, level=0 if number == 4 else 3_000, seed=number),
        )
    (folder / "5.mp4").write_text("no video")
    return folder


def raw_rows(clips) -> list[RawClip]:
    return [
        raw_clip(
            clips / f"{n}.mp4",
            clip_id=f"x-s{n % 2}-{n}",
            speaker=f"x-s{n % 2}",
            split="train" if n % 2 else "test",
        )
        for n in range(6)
    ]


@pytest.fixture
def workspace(tmp_path, clips):
    space = Workspace(tmp_path / "project")
    shutil.copytree(clips, space.raw)
    write_rows(space.raw_table, raw_rows(clips))
    return space


def outputs(workspace) -> dict[str, str]:
    return {path.name: sha256_file(path) for path in sorted(workspace.clips.iterdir())}


def table(workspace) -> dict[str, Clip]:
    return {c.clip_id: c for c in read_rows(workspace.clips / "clips.parquet", Clip)}


def test_every_clip_ends_once_and_is_in_the_table(workspace):
    (workspace.raw / "0.mp4").unlink()
    report = run_stage("clean", workspace, config=HERE)
    assert report.counts.done == 3
    assert report.counts.dropped == {"silent": 1, "undecodable": 1}
    assert report.counts.failed == {"file_missing": 1}
    rows = table(workspace)
    assert list(rows) == sorted(rows)
    assert len(rows) == 6
    outcomes = Ledger(workspace.ledger).outcomes("clean")
    for clip_id, row in rows.items():
        assert row.kept == (outcomes[clip_id].state is State.DONE)
        assert row.reason == str(outcomes[clip_id].reason or "")
        assert row.message == outcomes[clip_id].message
    drops = read_json(workspace.clips / "drops.json")
    assert drops["total"]["clips"] == 6
    assert drops["kept"]["clips"] == 3
    assert drops["by_reason"]["file_missing"]["state"] == "failed"
    assert report.facts["hours kept"] == pytest.approx(3 * 1.2 / 3600, abs=0.001)


@pytest.mark.slow
def test_duplicates_are_dropped_also_across_speakers_and_splits(workspace, clips):
    copy = raw_clip(clips / "1.mp4", clip_id="a-copy", speaker="x-s9", split="val")
    remade = make_clip(
        workspace.raw / "remade.mp4",
        pictures=moving_pictures(30, seed=1),
        audio=speech_like(1.2, seed=1),
        video_options={"crf": "30"},
    )
    pair = raw_clip(clips / "3.mp4", clip_id="b-copy")
    rows = [*raw_rows(clips), copy, pair, raw_clip(remade, clip_id="z-copy")]
    write_rows(workspace.raw_table, rows)
    for _ in range(2):  # and again, when everything is done already
        report = run_stage("clean", workspace, config=HERE)
        assert report.counts.dropped["duplicate"] == 3
        assert report.counts.total == 9
        found = table(workspace)
        gone = [i for i, c in found.items() if c.reason == "duplicate"]
        assert gone == ["x-s1-1", "x-s1-3", "z-copy"]
        assert found["z-copy"].message == "its sound is that of a-copy."
        assert Ledger(workspace.ledger).counts("clean").dropped["duplicate"] == 3
        assert Ledger(workspace.ledger).counts("clean").total == 9


@pytest.mark.slow
def test_copies_in_another_encoding_are_dropped_across_splits_unless_switched_off(tmp_path):
    from avsep.corpora.demo.voices import load_speech

    space = Workspace(tmp_path / "project")
    space.raw.mkdir(parents=True)
    one, other = (sound[:, None] for sound in load_speech(3)[:2])
    pictures = moving_pictures(75)
    make_clip(space.raw / "a.mp4", pictures=pictures, audio=one)
    make_clip(space.raw / "b.mp4", pictures=pictures, audio=other)
    again = {"video_options": {"crf": "30"}, "audio_codec": "pcm_s16le"}
    make_clip(space.raw / "c.mov", pictures=pictures, audio=one // 2, **again)
    splits = {"a.mp4": "test", "b.mp4": "train", "c.mov": "train"}
    rows = [
        raw_clip(space.raw / name, clip_id=f"x-{name[0]}", split=split)
        for name, split in splits.items()
    ]
    write_rows(space.raw_table, rows)
    report = run_stage("clean", space, config=HERE)
    assert report.counts.dropped == {"duplicate": 1}
    assert table(space)["x-c"].message == "it is x-a in another encoding (sound similarity 1.00)."
    assert read_json(space.clips / "drops.json")["by_reason"]["duplicate"]["clips"] == 1
    before = outputs(space)
    report = run_stage("clean", space, config=replace(HERE, find_copies=False))
    assert report.counts.done == 3
    run_stage("clean", space, config=HERE)
    assert outputs(space) == before


@pytest.mark.slow
def test_killed_run_continues_and_gives_the_same_bytes(workspace, monkeypatch):
    run_stage("clean", workspace, config=HERE)
    unbroken = outputs(workspace)
    shutil.rmtree(workspace.work("clean"))
    shutil.rmtree(workspace.clips)
    calls: list[str] = []
    real = checking.check_clip

    def check_until_killed(raw, folder, thresholds):
        if len(calls) == 4:
            raise KeyboardInterrupt
        calls.append(raw.clip_id)
        return real(raw, folder, thresholds)

    monkeypatch.setattr(clean, "check_clip", check_until_killed)
    with pytest.raises(KeyboardInterrupt):
        run_stage("clean", workspace, config=HERE)
    assert not workspace.clips.exists()
    for path in workspace.work("clean").glob("*.jsonl"):
        path.write_bytes(path.read_bytes() + b'{"clip": {"cl')  # cut in the middle of a line
    again: list[str] = []

    def check_on(raw, folder, thresholds):
        again.append(raw.clip_id)
        return real(raw, folder, thresholds)

    monkeypatch.setattr(clean, "check_clip", check_on)
    run_stage("clean", workspace, config=HERE)
    assert sorted(calls + again) == sorted(table(workspace))  # none twice
    assert outputs(workspace) == unbroken


@pytest.mark.slow
def test_pool_gives_the_same_bytes_as_one_process(workspace):
    run_stage("clean", workspace, config=HERE)
    alone = outputs(workspace)
    shutil.rmtree(workspace.work("clean"))
    run_stage("clean", workspace, config=replace(HERE, workers=2, batch_size=100))
    assert outputs(workspace) == alone


@pytest.mark.slow
def test_finished_batches_are_skipped_until_settings_or_inputs_change(workspace, monkeypatch):
    run_stage("clean", workspace, config=HERE)
    calls: list[str] = []
    real = checking.check_clip

    def check_counted(raw, folder, thresholds):
        calls.append(raw.clip_id)
        return real(raw, folder, thresholds)

    monkeypatch.setattr(clean, "check_clip", check_counted)
    run_stage("clean", workspace, config=HERE)
    assert calls == []
    run_stage("clean", workspace, config=replace(HERE, workers=None, item_timeout_s=60.0))
    assert calls == []  # how it is run decides nothing
    rows = read_rows(workspace.raw_table, RawClip)
    write_rows(workspace.raw_table, [*rows[:-1], replace(rows[-1], text="hello")])
    run_stage("clean", workspace, config=HERE)
    assert calls == ["x-s1-1", "x-s1-3", "x-s1-5"]  # one batch of the two
    run_stage("clean", workspace, config=replace(HERE, min_duration_s=1.1))
    assert len(calls) == 3 + 6
    names = sorted(path.name for path in workspace.work("clean").iterdir())
    assert len(names) == 4, names  # no old work is left


@pytest.mark.slow
def test_failed_clips_alone_are_tried_again_when_asked(workspace, monkeypatch):
    moved = workspace.raw / "0.mp4"
    moved.rename(workspace.root / "0.mp4")
    assert run_stage("clean", workspace, config=HERE).counts.failed == {"file_missing": 1}
    (workspace.root / "0.mp4").rename(moved)
    assert run_stage("clean", workspace, config=HERE).counts.failed == {"file_missing": 1}
    assert clear_failures("clean", workspace) == 1
    calls: list[str] = []
    real = checking.check_clip
    monkeypatch.setattr(
        clean, "check_clip", lambda raw, *rest: (calls.append(raw.clip_id), real(raw, *rest))[1]
    )
    assert run_stage("clean", workspace, config=HERE).counts.done == 4
    assert calls == ["x-s0-0"]


def test_too_many_failures_stop_the_stage(workspace):
    (workspace.raw / "0.mp4").write_bytes(b"changed")
    with pytest.raises(CheckError, match=r"1 of 6 items failed \(file_changed 1\)"):
        run_stage("clean", workspace, config=replace(HERE, max_failed_share=0.1))
    assert Ledger(workspace.ledger).counts("clean").failed == {str(Reason.FILE_CHANGED): 1}


def test_raw_table_that_is_missing_or_has_an_id_twice_is_named(workspace):
    rows = read_rows(workspace.raw_table, RawClip)
    write_rows(workspace.raw_table, [*rows, rows[2]])
    with pytest.raises(CheckError, match=f"{rows[2].clip_id} twice"):
        clean.plan(HERE, workspace)
    workspace.raw_table.unlink()
    with pytest.raises(CheckError, match="run the stage that makes it"):
        clean.plan(HERE, workspace)


def test_work_alone_returns_one_outcome_per_item(workspace):
    batch, *_ = clean.plan(HERE, workspace)
    seen: list[int] = []
    outcomes = clean.work(HERE, workspace, batch, seen.append)
    assert [o.item for o in outcomes] == list(batch.items)
    assert sum(seen) == len(batch.items)
    assert clean.work(HERE, workspace, batch, no_progress)[0].item == outcomes[0].item


def test_config_reads_from_params_and_refuses_nonsense():
    config = build(CleanConfig, {"min_duration_s": 2, "workers": None}, "clean")
    assert config.thresholds.min_duration_s == 2.0
    for values, word in (
        ({"batch_size": 0}, "batch_size"),
        ({"workers": -1}, "workers"),
        ({"max_failed_share": 2.0}, "max_failed_share"),
        ({"item_timeout_s": 0.0}, "item_timeout_s"),
        ({"min_duration_s": 0.0}, "min_duration_s"),
        ({"colour": 1}, "colour"),
    ):
        with pytest.raises(UsageError, match=word):
            build(CleanConfig, values, "clean")


def test_a_run_that_keeps_no_clip_stops_and_says_why(workspace):
    config = CleanConfig(workers=0, min_duration_s=100.0, max_failed_share=1.0)
    with pytest.raises(CheckError, match=r"no clip is kept \(0 done, .*too_short"):
        run_stage("clean", workspace, config=config)
    assert {clip.kept for clip in table(workspace).values()} == {False}
