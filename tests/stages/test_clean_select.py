"""Which clips are selected, and that a video is in one split only."""

from dataclasses import replace

import pytest

from avsep.errors import Reason, State, UsageError
from avsep.files import read_json
from avsep.schema import RawClip
from avsep.tables import write_rows
from pipeline.execution.ledger import Ledger
from pipeline.execution.ledger_check import check_ledger
from pipeline.stages import clean
from tests.stages.test_clean import HERE, clips, raw_rows, table, workspace  # noqa: F401
from tests.support.stage_run import run_stage


def put(workspace, clips, **by_number) -> None:  # noqa: F811
    """Write the raw table with other values for some clips."""
    rows = raw_rows(clips)
    for name, changes in by_number.items():
        number = int(name[1:])
        rows[number] = replace(rows[number], **changes)
    write_rows(workspace.raw_table, rows, RawClip)


@pytest.fixture
def annotated(workspace, clips):  # noqa: F811
    put(
        workspace, clips,
        n0={"annotation": {"asd_conf": 5.0, "av_offset": 0.0}, "gender": "m"},
        n1={"annotation": {"asd_conf": 0.5, "av_offset": 0.0}},
        n2={"annotation": {"asd_conf": 4.0, "av_offset": -7.0}},
        n4={"annotation": {"asd_conf": 9.0}},
    )  # fmt: skip
    return workspace


def test_the_selection_drops_with_a_sentence_and_in_the_report_by_gender(annotated):
    config = replace(HERE, select="asd_conf > 1 and abs(av_offset) <= 3")
    report = run_stage("clean", annotated, config=config)
    assert report.counts.dropped["not_selected"] == 3
    rows = table(annotated)
    assert [row.clip_id for row in rows.values() if row.kept] == ["x-s0-0"]
    assert "asd_conf 0.5" in rows["x-s1-1"].message
    assert "av_offset -7" in rows["x-s0-2"].message
    assert rows["x-s1-3"].message == "it has no asd_conf, av_offset, which select asks for."
    drops = read_json(annotated.clips / "drops.json")
    assert drops["by_gender"]["m"]["kept_clips"] == 1
    assert drops["by_gender"]["f"]["reasons"]["not_selected"] == 3
    outcomes = Ledger(annotated.ledger).outcomes("clean")
    assert outcomes["x-s1-1"].reason is Reason.NOT_SELECTED
    assert outcomes["x-s1-1"].state is State.DROPPED
    assert not [p for p in check_ledger(annotated) if "clips.parquet" in p]


def test_another_selection_checks_nothing_again(annotated, monkeypatch):
    run_stage("clean", annotated, config=replace(HERE, select="asd_conf > 1"))
    monkeypatch.setattr(clean, "check_clip", lambda *_: pytest.fail("checked again"))
    run_stage("clean", annotated, config=HERE)
    assert sum(row.kept for row in table(annotated).values()) == 4
    outcomes = Ledger(annotated.ledger).outcomes("clean")
    assert outcomes["x-s1-1"].state is State.DONE
    assert outcomes["x-s1-1"].attempts == 1


def test_a_score_that_no_clip_has_is_most_likely_misspelt(annotated):
    with pytest.raises(UsageError, match=r"uses asd_confidence, which no clip has"):
        run_stage("clean", annotated, config=replace(HERE, select="asd_confidence > 1"))
    with pytest.raises(ValueError, match="is not a condition"):
        replace(HERE, select="asd_conf")


def test_a_video_in_two_splits_stays_in_the_one_that_is_tested(workspace, clips):  # noqa: F811
    shared = {"video": "abcdefghijk"}
    put(workspace, clips, n0=shared, n1=shared, n2={"video": "ABCDEFGHIJK"}, n3={"video": ""})
    run_stage("clean", workspace, config=HERE)
    rows = table(workspace)
    assert rows["x-s0-0"].kept  # of the test
    assert not rows["x-s1-1"].kept  # of the training
    assert rows["x-s1-1"].message == "its video is in the test split too."
    assert rows["x-s0-2"].kept
    assert rows["x-s1-3"].kept


def test_words_and_annotations_survive_a_kill(annotated, clips, monkeypatch):  # noqa: F811
    words = {"words": ("GOOD", "DAY"), "word_times_s": (0.0, 0.4, 0.4, 1.0)}
    put(annotated, clips, n0=words)
    original, checked = clean.check_clip, []

    def killed(raw, *rest):
        checked.append(raw.clip_id)
        if len(checked) == 2:
            raise KeyboardInterrupt
        return original(raw, *rest)

    monkeypatch.setattr(clean, "check_clip", killed)
    with pytest.raises(KeyboardInterrupt):
        run_stage("clean", annotated, config=HERE)
    run_stage("clean", annotated, config=HERE)
    row = table(annotated)["x-s0-0"]
    assert checked.count("x-s0-0") == 1
    assert (row.words, row.word_times_s) == (words["words"], words["word_times_s"])
