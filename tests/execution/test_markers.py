from pathlib import Path

import pytest

from avsep.errors import CheckError, Reason
from avsep.outcome import Outcome
from avsep.workspace import Workspace
from pipeline.execution.markers import (
    clear_failures,
    known_outcomes,
    marker_path,
    read_marker,
    remove_stale_files,
    write_marker,
)
from pipeline.execution.stage import Batch, Stage, run_stage

DONE = [Outcome.done("a"), Outcome.ended("b", Reason.SILENT, "quiet")]


def test_same_settings_skip_other_settings_do_again(tmp_path: Path):
    workspace = Workspace(tmp_path)
    batch = Batch(name="b0", items=("a", "b"), settings="1")
    assert read_marker(workspace, "clean", batch) is None
    write_marker(workspace, "clean", batch, DONE, {"sha256": "x"})
    assert read_marker(workspace, "clean", batch) == (DONE, {"sha256": "x"})
    changed = Batch(name="b0", items=("a", "b"), settings="2")
    assert read_marker(workspace, "clean", changed) is None


def test_a_cut_marker_counts_as_none(tmp_path: Path):
    workspace = Workspace(tmp_path)
    batch = Batch(name="b0", items=("a", "b"), settings="1")
    write_marker(workspace, "clean", batch, DONE)
    path = marker_path(workspace, "clean", "b0")
    path.write_bytes(path.read_bytes()[:20])
    assert read_marker(workspace, "clean", batch) is None
    assert clear_failures("clean", workspace) == 0


def test_retry_touches_only_batches_with_failed_items(tmp_path: Path):
    workspace = Workspace(tmp_path)
    good = Batch(name="good", items=("a", "b"), settings="1")
    bad = Batch(name="bad", items=("c",), settings="1")
    write_marker(workspace, "clean", good, DONE)
    write_marker(workspace, "clean", bad, [Outcome.ended("c", Reason.TIMED_OUT, "slow")])
    assert clear_failures("clean", workspace, batches=[good]) == 0  # others may work on the rest
    assert clear_failures("clean", workspace, batches=[good, bad]) == 1
    assert read_marker(workspace, "clean", bad) is None
    assert read_marker(workspace, "clean", good) is not None


def test_files_of_batches_that_are_no_longer_planned_are_removed(tmp_path: Path):
    workspace = Workspace(tmp_path)
    batches = [Batch(name=name, items=("a",)) for name in ("x", "y")]
    for batch in batches:
        write_marker(workspace, "clean", batch, [Outcome.done("a")])
    folder = workspace.work("clean")
    for name in ("x.jsonl", "y.jsonl", "other.txt"):
        (folder / name).write_text("")
    remove_stale_files(workspace, "clean", batches[:1], [folder / "x.jsonl"])
    names = sorted(path.name for path in folder.iterdir())
    assert names == ["other.txt", "x.done.json", "x.jsonl"]
    assert read_marker(workspace, "clean", batches[0]) is not None


def test_a_full_disk_is_no_reason_to_leave_an_item_out_of_the_next_run(tmp_path: Path):
    workspace = Workspace(tmp_path)
    batch = Batch(name="b0", items=("a", "b", "c"), settings="1")
    ends = {"a": Reason.OUT_OF_SPACE, "b": Reason.WORKER_DIED}
    tried: list[str] = []

    def work(_config, _workspace, _batch, _progress):
        if marked := read_marker(workspace, "clean", batch):
            return marked[0]
        known = known_outcomes(workspace, "clean", batch)
        left = sorted(set(batch.items) - {outcome.item for outcome in known})
        tried.extend(left)
        made = [Outcome.ended(i, ends[i], "") if i in ends else Outcome.done(i) for i in left]
        write_marker(workspace, "clean", batch, [*known, *made])
        return [*known, *made]

    for resumes in (False, True):
        stage = Stage("clean", object, lambda *_: [batch], work, no_finish, resumes=resumes)
        with pytest.raises(CheckError):
            run_stage(stage, object(), workspace)
    ends.pop("a")
    stage = Stage("clean", object, lambda *_: [batch], work, no_finish)
    with pytest.raises(CheckError, match="worker_died 1"):
        run_stage(stage, object(), workspace)
    # Else a clip that kills its worker would do so in each run.
    assert tried == ["a", "b", "c", "a", "b", "a"]


def no_finish(*_):
    raise AssertionError("too many items failed")
