"""The bench of the tables runs the stages themselves and measures each step in its own process."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from avsep.cli.project import BENCH_GROUP
from avsep.errors import CheckError, UsageError
from avsep.workspace import Workspace
from pipeline.bench.project import write_project
from pipeline.bench.steps import STEPS
from pipeline.bench.tables import bench_tables, table
from pipeline.cli import bench
from pipeline.execution.ledger import Ledger
from tests.test_structure import ROOT


@pytest.fixture(scope="module")
def workspace(tmp_path_factory) -> Workspace:
    return write_project(tmp_path_factory.mktemp("project"), 800)


@pytest.mark.slow
def test_every_step_does_its_work_on_the_synthetic_project(workspace):
    for name, step in STEPS.items():
        step(workspace)
        ledger = Ledger(workspace.ledger)
        if name == "clean":
            assert ledger.counts("clean").total == 800
            assert 0 < ledger.counts("clean").dropped["too_short"] < 100
        if name == "mix":
            assert ledger.counts("mix").done == 800
            assert (workspace.mixtures / "train.parquet").is_file()
    assert (workspace.report / "index.html").is_file()


@pytest.mark.slow
def test_a_step_is_measured_in_a_process_of_its_own(tmp_path):
    told = []
    (figures,) = bench_tables([60], ["extract: plan"], folder=tmp_path, announce=told.append)
    assert (figures.step, figures.rows) == ("extract: plan", 60)
    assert 0 < figures.cpu_s < 60
    assert 30 < figures.peak_mb < 2000
    assert told == ["writing a project of 60 rows", "extract: plan, 60 rows"]
    assert not any(tmp_path.iterdir())
    assert "| extract: plan | 60" in table([figures])


def test_nonsense_is_one_sentence(tmp_path):
    for rows, steps, word in (([1], [], "too few"), ([60], ["paint"], "there is no step 'paint'")):
        with pytest.raises(UsageError, match=word):
            bench_tables(rows, steps, folder=tmp_path, announce=print)
    for options in ({"rows": "many"}, {"rows": "10", "folder": tmp_path / "absent"}):
        with pytest.raises(UsageError, match=r"must be whole numbers|is not a folder"):
            bench.tables(**options)


@pytest.mark.slow
def test_a_step_that_fails_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr("pipeline.bench.project.write_project", lambda root, _: Workspace(root))
    with pytest.raises(CheckError, match="step 'audit' failed on 60 rows"):
        bench_tables([60], ["audit"], folder=tmp_path, announce=lambda _: None)


def test_the_command_is_found_below_bench(monkeypatch):
    from importlib.metadata import EntryPoint

    from avsep.cli import project
    from avsep.cli.app import app

    assert f'[project.entry-points."{BENCH_GROUP}"]' in (ROOT / "pyproject.toml").read_text()
    entry = EntryPoint("tables", "pipeline.cli.bench:tables", BENCH_GROUP)
    monkeypatch.setattr(project, "entry_points", lambda group: [entry])
    assert "tables" in CliRunner().invoke(app, ["bench", "--help"]).stdout
    made = []

    def fake(rows, steps, **_options):
        made.append((rows, list(steps)))
        return []

    monkeypatch.setattr("pipeline.bench.tables.bench_tables", fake)
    done = CliRunner().invoke(
        app, ["bench", "tables", "--rows", "20,30", "--step", "mix", "--json"]
    )
    assert done.exit_code == 0, done.output
    assert (json.loads(done.stdout), made) == ([], [([20, 30], ["mix"])])
