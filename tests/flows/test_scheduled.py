"""Scheduled flows: DVC ends with its flow, runs wait for each other, deployments lead somewhere."""

import contextlib
import fcntl
import importlib
import inspect
import logging
import os
from pathlib import Path

import pytest
import yaml

from avsep.errors import CheckError, Reason
from avsep.files import write_json
from avsep.outcome import Outcome
from avsep.workspace import Workspace
from flows import dvc
from pipeline.execution.ledger import Ledger
from tests.support.processes import all_end

ROOT = Path(__file__).parents[2]
FAKE = """#!/bin/bash
shift 2  # -m dvc
case "$1" in
  hang) sleep 300 & echo "child $!"; wait ;;
  fail) echo "one"; echo "it broke" >&2; exit 3 ;;
  *) echo "said $*" ;;
esac
"""


@pytest.fixture
def workspace(tmp_path, monkeypatch):
    """A project in which `python -m dvc` is a script that says, fails or hangs."""
    fake = tmp_path / "python"
    fake.write_text(FAKE)
    fake.chmod(0o755)
    monkeypatch.setattr(dvc.sys, "executable", str(fake))
    monkeypatch.setattr(dvc, "get_run_logger", lambda: logging.getLogger("test"))
    return Workspace(tmp_path)


def test_what_dvc_says_is_kept_and_its_failure_is_a_sentence(workspace):
    assert dvc.run_dvc(workspace, "repro", "mix") == ["said repro mix"]
    with pytest.raises(CheckError, match=r"`dvc fail` failed with 3: one / it broke"):
        dvc.run_dvc(workspace, "fail")


def test_a_flow_that_is_interrupted_ends_dvc_and_its_stages(workspace, monkeypatch):
    seen: list[int] = []

    class Interrupted(logging.Logger):
        def info(self, text, *values):
            if values and str(values[0]).startswith("child"):
                seen.append(int(str(values[0]).split()[1]))
                raise KeyboardInterrupt  # as Prefect's handler does on TERM

    monkeypatch.setattr(dvc, "get_run_logger", lambda: Interrupted("test"))
    with pytest.raises(KeyboardInterrupt):
        dvc.run_dvc(workspace, "hang")
    assert all_end(seen)


def test_two_scheduled_runs_never_work_at_once(workspace):
    with dvc.one_at_a_time(workspace):
        other = os.open(workspace.work("scheduled") / "lock", os.O_RDWR)
        with pytest.raises(BlockingIOError):
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(other)


def test_tables_tell_reasons_and_metrics(workspace):
    outcomes = [Outcome.done("a"), Outcome.ended("b", Reason.SILENT, "no sound")]
    Ledger(workspace.ledger).record("clean", outcomes)
    assert dvc.ledger_rows(workspace) == [
        {"stage": "clean", "ended": "done", "items": 1},
        {"stage": "clean", "ended": "dropped: silent", "items": 1},
    ]
    write_json(workspace.evaluation("dolphin") / "metrics.json", {"own": {"si_snri": 1.5}})
    assert dvc.metric_rows(workspace) == [
        {"model": "dolphin", "metric": "own.si_snri", "value": 1.5}
    ]


def test_every_deployment_leads_to_a_flow_that_takes_its_parameters():
    from prefect.client.schemas.schedules import CronSchedule

    written = yaml.safe_load((ROOT / "prefect.yaml").read_text("utf-8"))
    names = set()
    for deployment in written["deployments"]:
        path, name = deployment["entrypoint"].split(":")
        flow = getattr(importlib.import_module(path.removesuffix(".py").replace("/", ".")), name)
        names.add(f"{flow.name}/{deployment['name']}")
        parameters = inspect.signature(flow.fn).parameters
        assert set(deployment.get("parameters", {})) <= set(parameters)
        assert deployment["work_pool"]["name"] == "local"
        for schedule in deployment.get("schedules", []):
            CronSchedule(cron=schedule["cron"], timezone=schedule["timezone"])  # raises
    text = (ROOT / "docs" / "scale.md").read_text("utf-8")
    assert [name for name in sorted(names) if f"`{name}`" not in text] == []


def test_the_automation_is_one_that_prefect_takes():
    from prefect.events.schemas.automations import AutomationCore

    with contextlib.closing((ROOT / "automations" / "failed-runs.yaml").open()) as file:
        automation = AutomationCore.model_validate(yaml.safe_load(file))
    assert automation.actions[0].type == "send-notification"
