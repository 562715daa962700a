"""A command that only reads makes nothing, needs no right to write, and says the same without."""

import os
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from avsep.cli.app import app
from avsep.errors import CheckError, Reason
from avsep.outcome import Outcome, SourceRow
from avsep.workspace import Workspace
from pipeline.execution.ledger import Ledger
from tests.support.small_disk import mounted
from tests.support.synthetic_workspace import make_workspace

ROOT = Path(__file__).parents[2]
OF_PROJECT = [
    ["ledger", "summary"],
    ["ledger", "failures"],
    ["ledger", "show", "a"],
    ["ledger", "check"],
    ["ledger", "check", "--deep"],
    ["plan"],
    ["doctor"],
    ["results"],
    ["profile", "list"],
    ["weights", "list"],
]
OF_SHARDS = [
    ["verify"],
    ["verify", "--deep"],
]


@pytest.fixture(scope="module")
def disk(tmp_path_factory):
    with mounted(tmp_path_factory.mktemp("disk") / "small", 32) as made:
        workspace = make_workspace(made.path, num_frames=25)
        shutil.copytree(ROOT / "profiles", made.path / "profiles")
        (made.path / "params.yaml").write_text("{}\n")
        ledger = Ledger(workspace.ledger)
        rows = [Outcome.done("a"), Outcome.ended("b", Reason.SILENT, "it is silent.")]
        for stage in ("clean", "extract"):
            ledger.record(stage, rows)
        ledger.record_source("download", SourceRow(source="v", state=None))
        yield made


def files(folder: Path) -> dict[str, int]:
    found = folder.rglob("*")  # SQLite makes and removes files of its own meanwhile
    return {str(path): path.is_file() and path.lstat().st_mtime_ns for path in found}


def said(command: list[str], folder: Path) -> tuple[int, str]:
    root = [str(folder / "data/shards")] if command[0] == "verify" else ["--root", str(folder)]
    done = CliRunner(env={"AVSEP_WEIGHTS": str(folder / "weights")}).invoke(app, [*command, *root])
    error = done.exception
    assert error is None or isinstance(error, SystemExit | CheckError), repr(error)
    return done.exit_code, done.output + (str(error) if isinstance(error, CheckError) else "")


@pytest.mark.slow
@pytest.mark.parametrize("command", OF_PROJECT + OF_SHARDS, ids=" ".join)
def test_a_command_that_reads_says_the_same_of_a_folder_that_it_cannot_write_to(disk, command):
    before, written = files(disk.path), said(command, disk.path)
    assert files(disk.path) == before
    disk.make_read_only()
    try:
        read_only = said(command, disk.path)
    finally:
        disk.heal()
    if command[0] not in ("plan", "doctor"):  # they name the free space
        assert read_only == written
    assert read_only[0] == written[0]


@pytest.mark.parametrize("command", OF_PROJECT + OF_SHARDS, ids=" ".join)
@pytest.mark.slow
def test_a_command_that_reads_makes_nothing_where_there_is_nothing(tmp_path, command):
    folder = tmp_path / "empty"
    folder.mkdir()
    CliRunner(env={"AVSEP_WEIGHTS": str(folder / "weights")}).invoke(
        app, [*command, *([str(folder)] if command[0] == "verify" else ["--root", str(folder)])]
    )
    assert list(folder.iterdir()) == []
    (folder / "params.yaml").write_text("{}\n")
    if command[0] != "verify":
        CliRunner(env={"AVSEP_WEIGHTS": str(folder / "weights")}).invoke(
            app, [*command, "--root", str(folder)]
        )
    assert [path.name for path in folder.iterdir()] == ["params.yaml"]


@pytest.mark.slow
def test_a_ledger_is_read_where_nothing_can_be_written(disk):
    path = Workspace(disk.path).ledger
    disk.make_read_only()
    try:
        read = Ledger.existing(path)
        assert list(read.all_counts()["extract"].dropped) == ["silent"]
        with pytest.raises(CheckError, match="read-only"):
            read.record("extract", [Outcome.done("c")])
    finally:
        disk.heal()


def test_a_ledger_that_is_being_written_is_read_where_nothing_can_be_written(tmp_path, monkeypatch):
    """Another user's: its file of what was written last is read too."""
    ledger = Ledger(tmp_path / "ledger.sqlite")
    with ledger._connect() as connection:
        connection.execute("SELECT * FROM items").fetchone()
        ledger.record("clean", [Outcome.done("a")])
        monkeypatch.setattr(os, "access", lambda path, mode: mode != os.W_OK)
        assert Ledger.existing(ledger.path).all_counts()["clean"].done == 1


@pytest.mark.parametrize(
    ("column", "value"),
    [("reason", "of_the_future"), ("facts", "[" * 100_000), ("facts", "9" * 9999)],
)
def test_a_ledger_of_another_version_is_one_sentence(tmp_path, column, value):
    ledger = Ledger(tmp_path / "ledger.sqlite")
    ledger.record("clean", [Outcome.ended("a", Reason.SILENT, "x")])
    ledger.record_source("clean", SourceRow(source="v", state=None))
    table = "items" if column == "reason" else "sources"
    with ledger._connect() as connection:
        connection.execute(f"UPDATE {table} SET {column} = ?", (value,))
    for read in (ledger.all_counts, lambda: ledger.outcomes("clean")):
        if table == "items":
            with pytest.raises(CheckError, match="this version does not know"):
                read()
    if table == "sources":
        with pytest.raises(CheckError, match="this version does not know"):
            ledger.sources("clean")
