import sqlite3
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from avsep.errors import CheckError, Reason, State
from avsep.outcome import Counts, Outcome, SourceRow
from pipeline.execution import ledger as execution
from pipeline.execution.ledger import Ledger


def test_reasons_fall_into_exactly_one_state():
    for reason in Reason:
        assert Outcome.ended("x", reason, "m").state is reason.state
    assert Reason.NO_FACE.state is State.DROPPED
    assert Reason.FILE_MISSING.state is State.FAILED


def test_an_outcome_cannot_contradict_itself():
    with pytest.raises(ValueError, match="reason"):
        Outcome(item="a", state=State.DONE, reason=Reason.SILENT)
    with pytest.raises(ValueError, match="not failed"):
        Outcome(item="a", state=State.FAILED, reason=Reason.SILENT)


def test_rows_survive_and_counts_add_up(tmp_path: Path):
    ledger = Ledger(tmp_path / "ledger.sqlite")
    ledger.record("clean", [Outcome.done("a"), Outcome.ended("b", Reason.SILENT, "quiet")])
    ledger.record("clean", [Outcome.ended("c", Reason.TIMED_OUT, "m" * 9999)])
    ledger.record("clean", [Outcome.done("c")])
    ledger.record("extract", [Outcome.done("a")])
    again = Ledger(tmp_path / "ledger.sqlite")
    counts = again.counts("clean")
    assert (counts.done, dict(counts.dropped), dict(counts.failed)) == (2, {"silent": 1}, {})
    assert counts.total == 3
    assert again.stages() == ["clean", "extract"]
    again.keep_only("clean", ["a"])
    assert list(again.outcomes("clean")) == ["a"]
    assert list(again.outcomes("extract")) == ["a"]


def test_one_models_run_leaves_the_rows_of_the_others(tmp_path: Path):
    ledger = Ledger(tmp_path / "ledger.sqlite")
    rows = ["vovit", "vovit:m1", "vovit:m2", "vovit-s1", "vovit-s1:m1"]
    ledger.record("evaluate", [Outcome.done(item) for item in rows])
    ledger.keep_only("evaluate", ["vovit:m1"], model="vovit")
    assert list(ledger.outcomes("evaluate")) == ["vovit-s1", "vovit-s1:m1", "vovit:m1"]


@pytest.mark.slow
def test_two_processes_write_at_once(tmp_path: Path):
    path = tmp_path / "ledger.sqlite"
    code = (
        "import sys; from pathlib import Path\n"
        "from avsep.outcome import Outcome; from pipeline.execution.ledger import Ledger\n"
        "ledger = Ledger(Path(sys.argv[1]))\n"
        "for i in range(50): ledger.record('s', [Outcome.done(f'{sys.argv[2]}-{i}')])"
    )
    writers = [
        subprocess.Popen([sys.executable, "-c", code, str(path), name]) for name in ("a", "b")
    ]
    assert [writer.wait(timeout=60) for writer in writers] == [0, 0]
    assert Ledger(path).counts("s").total == 100


def test_a_ledger_that_another_process_is_making_is_waited_for(tmp_path: Path, monkeypatch):
    class Locked(sqlite3.Connection):
        left = 3

        def execute(self, *words):
            if "journal_mode" in words[0] and Locked.left:
                Locked.left -= 1
                raise sqlite3.OperationalError("database is locked")
            return super().execute(*words)

    connect = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda *a, **k: connect(*a, **k, factory=Locked))
    Ledger(tmp_path / "ledger.sqlite").record("s", [Outcome.done("a")])
    assert Locked.left == 0


def test_a_file_that_is_no_ledger_is_named(tmp_path: Path):
    path = tmp_path / "ledger.sqlite"
    path.write_bytes(b"not a database, but long enough to be looked at" * 20)
    with pytest.raises(CheckError, match=r"ledger\.sqlite is not a ledger"):
        Ledger(path)


def test_a_full_disk_is_named_and_not_the_file(tmp_path: Path, monkeypatch):
    path = tmp_path / "ledger.sqlite"
    ledger = Ledger(path)
    ledger.record("clean", [Outcome.done("a")])
    connect = sqlite3.connect

    def full(*arguments, **options):
        connection = connect(*arguments, **options)
        connection.execute("PRAGMA max_page_count = 1")  # SQLite then reports a full disk
        return connection

    with monkeypatch.context() as patch:
        patch.setattr(sqlite3, "connect", full)
        with pytest.raises(CheckError, match="the disk is full; free some space") as caught:
            ledger.record("clean", [Outcome.done(f"{i}" * 500) for i in range(500)])
    assert "move it away" not in str(caught.value)
    assert list(Ledger(path).outcomes("clean")) == ["a"]


def test_a_ledger_that_another_program_locks_is_told_from_one_on_a_bad_disk(tmp_path, monkeypatch):
    monkeypatch.setattr(execution, "LOCK_TIMEOUT_S", 0.05)
    ledger = Ledger(tmp_path / "ledger.sqlite")
    holder = sqlite3.connect(ledger.path, isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    with pytest.raises(CheckError, match="another program has locked it; wait until that has"):
        ledger.record("mix", [Outcome.done("a")])
    assert ledger.counts("mix").total == 0  # it can be read meanwhile
    holder.close()
    ledger.record("mix", [Outcome.done("a")])
    assert ledger.counts("mix").done == 1


def test_counts_of_nothing():
    assert Counts.of([]).total == 0


def test_the_code_of_an_earlier_version_is_read_and_its_videos_can_be_tried_again(tmp_path: Path):
    ledger = Ledger(tmp_path / "ledger.sqlite")
    row = SourceRow(source="v", state=State.FAILED, reason=Reason.UNRECOGNISED, attempts=2)
    ledger.record_source("download", row)
    with sqlite3.connect(ledger.path) as connection:
        connection.execute("UPDATE sources SET reason = 'parked'")
    assert ledger.sources("download")["v"].reason is Reason.UNRECOGNISED
    assert ledger.reset_failed_sources("download", [Reason.UNRECOGNISED]) == 1
    again = ledger.sources("download")["v"]
    assert (again.state, again.attempts) == (None, 0)
    with pytest.raises(ValueError, match="is not a valid Reason"):
        Reason("nonsense")


def test_counts_and_parts_are_those_of_all_outcomes(tmp_path):
    ledger = Ledger(tmp_path / "ledger.sqlite")
    reasons = [None, None, Reason.TOO_SHORT, Reason.SILENT, Reason.TIMED_OUT]
    outcomes = [
        Outcome.ended(f"i{n:02d}", reason, "why") if reason else Outcome.done(f"i{n:02d}")
        for n, reason in enumerate(reasons * 4)
    ]
    ledger.record("clean", outcomes)
    ledger.record("mix", [replace(Outcome.done("k"), path="/a/b")])
    assert ledger.counts("clean") == Counts.of(outcomes)
    assert ledger.all_counts() == {
        "clean": Counts.of(outcomes), "mix": Counts.of([Outcome.done("k")])
    }  # fmt: skip
    assert ledger.counts("train") == Counts()
    assert list(ledger.each_outcome("clean")) == list(ledger.outcomes("clean").values())
    unfinished = [outcome for outcome in outcomes if outcome.state is not State.DONE]
    assert list(ledger.each_outcome("clean", done=False)) == unfinished
    assert list(ledger.items("clean")) == [outcome.item for outcome in outcomes]
    assert list(ledger.paths("mix")) == [("k", "/a/b")]


def test_the_attempts_of_an_item_add_up(tmp_path: Path):
    ledger = Ledger(tmp_path / "ledger.sqlite")
    for count in (1, 2, 0):
        ledger.record("clean", [replace(Outcome.done("a"), attempts=count)])
    assert ledger.outcomes("clean")["a"].attempts == 3


def test_an_item_that_was_found_keeps_what_was_known_of_its_file(tmp_path: Path):
    ledger = Ledger(tmp_path / "ledger.sqlite")
    made = replace(Outcome.done("a"), source="video", sha256="0" * 64, path="a.mp4")
    ledger.record("download", [made])
    ledger.record("download", [Outcome.found("a")])
    known = ledger.outcomes("download")["a"]
    assert (known.source, known.sha256, known.path) == ("video", "0" * 64, "a.mp4")
    ledger.record("download", [Outcome.ended("a", Reason.FILE_MISSING, "it is missing.")])
    assert ledger.outcomes("download")["a"].sha256 == ""
