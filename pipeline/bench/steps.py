"""What is measured of each stage: its own work on rows, without media and models."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from avsep.workspace import Workspace
from pipeline.bench.project import CLEAN, MIX
from pipeline.execution.stage import run_stage

DRAWS = 10_000


def _clean(workspace: Workspace) -> None:
    from pipeline.stages.clean import STAGE

    run_stage(STAGE, CLEAN, workspace)


def _extract(workspace: Workspace) -> None:
    from pipeline.stages.extract import ExtractConfig, plan

    plan(ExtractConfig(), workspace)


def _card(workspace: Workspace) -> None:
    from avsep.extraction.card import write_card
    from avsep.schema import Clip
    from avsep.shards.index import read_index
    from avsep.shards.manifest import read_manifest
    from avsep.tables import open_rows

    clips = open_rows(workspace.clips / "clips.parquet", Clip)
    manifest = read_manifest(workspace.shards)
    write_card(workspace.shards, manifest, read_index(workspace.shards, manifest), clips, [], {})


def _mix(workspace: Workspace) -> None:
    from pipeline.stages.mix import STAGE

    run_stage(STAGE, MIX, workspace)


def _draw(workspace: Workspace) -> None:
    from avsep.mixing.training import read_training

    draw = read_training(workspace.mixtures / "train.parquet", _no_sound)
    for number in range(DRAWS):
        draw(number)


def _no_sound(key: str) -> np.ndarray:
    raise AssertionError(f"the sound of {key} is not needed")


def _audit(workspace: Workspace) -> None:
    from avsep.mixing.audit import audit, read_listings

    audit(read_listings([workspace.mixtures]))


def _plan(workspace: Workspace) -> None:
    from pipeline.config import load_configs
    from pipeline.plan import plan_project

    plan_project(load_configs(workspace.root / "params.yaml"), workspace)


def _ledger_check(workspace: Workspace) -> None:
    from pipeline.execution.ledger_check import check_ledger

    check_ledger(workspace)


def _ledger_summary(workspace: Workspace) -> None:
    from pipeline.cli.ledger import summary

    summary(workspace.root)


def _ledger_failures(workspace: Workspace) -> None:
    from pipeline.cli.ledger import failures

    failures(root=workspace.root)


def _ledger_export(workspace: Workspace) -> None:
    from pipeline.cli.ledger import export

    export(Path(workspace.work("export")), workspace.root)


def _report(workspace: Workspace) -> None:
    from pipeline.stages.report import STAGE, ReportConfig

    run_stage(STAGE, ReportConfig(), workspace)


STEPS: dict[str, Callable[[Workspace], None]] = {
    "clean": _clean,
    "extract: plan": _extract,
    "extract: card": _card,
    "mix": _mix,
    f"draw {DRAWS:,} pairs": _draw,
    "audit": _audit,
    "plan": _plan,
    "ledger check": _ledger_check,
    "ledger summary": _ledger_summary,
    "ledger failures": _ledger_failures,
    "ledger export": _ledger_export,
    "report": _report,
}
"""By name, in an order in which each finds what it needs."""
