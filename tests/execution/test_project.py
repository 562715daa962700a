"""Commands of a project find it from inside, and write nothing outside of one."""

import sys
from pathlib import Path

import pytest

from avsep.cli import main
from avsep.outcome import Outcome
from avsep.workspace import PARAMS, Workspace, find_project
from pipeline.execution.ledger import Ledger


def run(monkeypatch, *words: str) -> int:
    monkeypatch.setattr(sys, "argv", ["avsep", *words])
    with pytest.raises(SystemExit) as ended:
        main()
    return ended.value.code


@pytest.fixture
def nowhere(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    "words",
    [
        *(("ledger", name) for name in ("summary", "failures", "check")),
        ("ledger", "retry", "clean"),
        ("ledger", "export", "out"),
        ("run", "clean"),
        ("profile", "list"),
        ("profile", "use", "demo"),
        ("doctor",),
        ("plan",),
        ("up",),
        ("down",),
    ],
    ids=" ".join,
)
@pytest.mark.parametrize("named", [False, True], ids=["searched", "named"])
def test_outside_a_project_a_command_says_so_and_writes_nothing(
    nowhere, monkeypatch, capsys, words, named
):
    options = ("--root", str(nowhere)) if named else ()
    assert run(monkeypatch, *words, *options) == 2
    said = capsys.readouterr().err.strip().splitlines()
    assert len(said) == 1
    assert "an avsep project: it has no params.yaml" in said[0]
    assert list(nowhere.iterdir()) == []


def test_a_project_is_found_from_any_folder_below_it(tmp_path, monkeypatch):
    (tmp_path / PARAMS).write_text("{}")
    below = tmp_path / "data" / "raw"
    below.mkdir(parents=True)
    monkeypatch.chdir(below)
    assert find_project() == Workspace(tmp_path.resolve())


@pytest.mark.parametrize("command", ["failures", "retry"])
def test_an_unknown_stage_is_bad_use(tmp_path, monkeypatch, capsys, command):
    (tmp_path / PARAMS).write_text("{}")
    Ledger(Workspace(tmp_path).ledger).record("clean", [Outcome.done("a")])
    assert run(monkeypatch, "ledger", command, "cleen", "--root", str(tmp_path)) == 2
    assert "there is no stage 'cleen'" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["summary", "failures", "check"])
def test_a_command_that_only_reads_makes_no_ledger(tmp_path, monkeypatch, capsys, command):
    (tmp_path / PARAMS).write_text("{}")
    assert run(monkeypatch, "ledger", command, "--root", str(tmp_path)) == 1
    assert "no stage has run in this project yet" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == [PARAMS]


def test_a_mistake_in_a_later_section_stops_the_first_stage(tmp_path, monkeypatch, capsys):
    (tmp_path / PARAMS).write_text("train: {sead: 1}")
    assert run(monkeypatch, "run", "download", "--root", str(tmp_path)) == 2
    assert "train has the unknown key(s) sead" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == [PARAMS]
