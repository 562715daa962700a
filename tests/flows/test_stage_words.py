"""What `python -m flows.stages` says before, and after the last stage."""

import sys

import pytest

from avsep.outcome import Counts
from pipeline.execution.stage import StageReport


@pytest.mark.slow
@pytest.mark.parametrize("follows", [False, True])
def test_the_heading_comes_first_and_the_results_last(tmp_path, monkeypatch, capsys, follows):
    from flows import stages

    def run(root: str, model: str) -> StageReport:
        said.append(capsys.readouterr().out)
        return StageReport(stage="report", counts=Counts(done=1), seconds=3.0)

    run.name = "report"
    said: list[str] = []
    monkeypatch.setitem(stages.FLOWS, "report", run)
    monkeypatch.setattr(stages, "api_settings", lambda _: {})
    monkeypatch.setattr(stages, "check_api", lambda: None)
    monkeypatch.setattr(sys, "argv", ["flows.stages", "report", "--root", str(tmp_path)])
    if follows:
        monkeypatch.setenv(stages.RESULTS_FOLLOW, "1")
    stages.main()
    assert said == ["stage 12 of 12: report - write the page of all results\n"]
    ended = capsys.readouterr().out
    assert ended.startswith("report: 1 done in 3 s\n")
    assert ("Separation of test mixtures" in ended) is not follows
