import pytest

from avsep.cli.app import app
from avsep.errors import CheckError, Reason, State, UsageError
from avsep.outcome import Outcome, SourceRow
from avsep.tables import read_rows
from avsep.workspace import PARAMS, Workspace
from pipeline.execution.ledger import Ledger
from pipeline.execution.ledger_export import ItemRecord, SourceRecord
from pipeline.execution.markers import failures_of, known_outcomes, read_marker, retry, write_marker
from pipeline.execution.stage import Batch

BATCH = Batch(name="b", items=("a", "b", "c", "d"), settings="1")
OUTCOMES = [
    Outcome.done("a"),
    Outcome.ended("b", Reason.VIDEO_GONE, "private"),
    Outcome.ended("c", Reason.NETWORK, "timed out"),
    Outcome.ended("d", Reason.RESTRICTED, "members only"),
]


@pytest.fixture
def workspace(tmp_path):
    workspace = Workspace(tmp_path)
    (tmp_path / PARAMS).write_text("{}")
    ledger = Ledger(workspace.ledger)
    ledger.record("download", OUTCOMES)
    for outcome in OUTCOMES:
        ledger.record_source(
            "download",
            SourceRow(
                source=outcome.item.upper(), state=outcome.state, reason=outcome.reason,
                message=outcome.message, attempts=1, tool="2026.1", facts={"width": 640},
            ),
        )  # fmt: skip
    write_marker(workspace, "download", BATCH, OUTCOMES)
    return workspace


def avsep(workspace, *arguments: str) -> None:
    app([*arguments, "--root", str(workspace.root)], standalone_mode=False)


def test_retry_of_a_class_touches_only_that_class(workspace, capsys):
    avsep(workspace, "ledger", "retry", "download", "--class", "transient")
    assert "1 item(s)" in capsys.readouterr().out
    assert {o.item for o in known_outcomes(workspace, "download", BATCH)} == {"a", "b", "d"}
    assert read_marker(workspace, "download", BATCH) is None
    sources = Ledger(workspace.ledger).sources("download")
    assert sources["C"].state is None
    assert sources["C"].attempts == 0
    assert [sources[s].state for s in "ABD"] == [State.DONE, State.DROPPED, State.FAILED]


def test_retry_of_all_leaves_what_is_done_or_gone(workspace):
    assert retry("download", workspace) == 2
    assert {o.item for o in known_outcomes(workspace, "download", BATCH)} == {"a", "b"}


def test_a_class_that_cannot_heal_or_is_none_is_refused():
    assert failures_of("conditional") == (Reason.RESTRICTED,)
    assert failures_of("timed_out") == (Reason.TIMED_OUT,)
    with pytest.raises(UsageError, match="drops an item for good"):
        failures_of("video_gone")
    with pytest.raises(UsageError, match="there is no class 'nonsense'"):
        failures_of("nonsense")


def test_every_failure_has_a_class_and_nothing_dropped_has():
    for reason in Reason:
        assert bool(reason.kind) == (reason.state is State.FAILED)


def test_the_summary_shows_items_and_videos_with_shares(workspace, capsys):
    avsep(workspace, "ledger", "summary")
    text = capsys.readouterr().out
    for word in ("download", "video_gone 1", "network_trouble 1", "25.0%", "videos of download"):
        assert word in text
    avsep(workspace, "ledger", "failures", "download", "--class", "conditional")
    assert capsys.readouterr().out == "download\td\tfailed\tvideo_restricted\tmembers only\n"


def test_the_export_holds_what_the_ledger_holds(workspace, tmp_path):
    avsep(workspace, "ledger", "export", str(tmp_path / "out"))
    items = read_rows(tmp_path / "out" / "items.parquet", ItemRecord)
    assert [(i.item, i.state, i.kind) for i in items] == [
        ("a", "done", ""), ("b", "dropped", ""), ("c", "failed", "transient"),
        ("d", "failed", "conditional"),
    ]  # fmt: skip
    sources = read_rows(tmp_path / "out" / "sources.parquet", SourceRecord)
    assert [s.source for s in sources] == ["A", "B", "C", "D"]
    assert sources[0].facts == '{"width": 640}'


def test_check_fails_the_command_where_the_stage_has_not_finished(workspace, capsys):
    with pytest.raises(CheckError, match="differ in 1 place"):
        avsep(workspace, "ledger", "check")
    assert "download has not finished" in capsys.readouterr().err


def test_a_ledger_of_an_earlier_version_gets_the_new_columns(tmp_path):
    import sqlite3

    path = tmp_path / "ledger.sqlite"
    with sqlite3.connect(path) as old:
        old.execute(
            "CREATE TABLE items (stage TEXT, item TEXT, state TEXT, reason TEXT, message TEXT,"
            " attempts INTEGER, seconds REAL, updated_at REAL, PRIMARY KEY (stage, item))"
        )
        old.execute("INSERT INTO items VALUES ('s', 'x', 'done', '', '', 1, 0, 0)")
    ledger = Ledger(path)
    ledger.record("s", [Outcome.found("x", source="v", sha256="0" * 64)])
    outcome = ledger.outcomes("s")["x"]
    assert (outcome.attempts, outcome.source, outcome.sha256) == (1, "v", "0" * 64)


def test_attempts_count_tries_and_not_looks(tmp_path):
    ledger = Ledger(tmp_path / "ledger.sqlite")
    ledger.record("s", [Outcome.ended("x", Reason.NETWORK, "m")])
    ledger.record("s", [Outcome.done("x")])
    for _ in range(3):
        ledger.record("s", [Outcome.found("x")])
    assert ledger.outcomes("s")["x"].attempts == 2
