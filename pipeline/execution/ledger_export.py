"""The ledger as parquet tables, for whoever wants to count with other tools."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from avsep.files import dump_json
from avsep.tables import write_rows
from pipeline.execution.ledger import Ledger


@dataclass(frozen=True, kw_only=True)
class ItemRecord:
    """One item of one stage; the fields are those of `ledger.Outcome`."""

    stage: str
    item: str
    state: str
    reason: str
    kind: str
    message: str
    attempts: int
    seconds: float
    source: str
    sha256: str
    path: str


@dataclass(frozen=True, kw_only=True)
class SourceRecord:
    """One video; the fields are those of `ledger.SourceRow`, `facts` as JSON."""

    stage: str
    source: str
    state: str
    reason: str
    kind: str
    message: str
    attempts: int
    tool: str
    facts: str


def export_ledger(ledger: Ledger, folder: Path) -> list[Path]:
    """Write `items.parquet` and `sources.parquet` into a folder; returns their paths."""
    items, sources = [], []
    for stage in ledger.stages():
        items += [
            ItemRecord(
                stage=stage,
                item=outcome.item,
                state=str(outcome.state),
                reason=str(outcome.reason or ""),
                kind=outcome.reason.kind if outcome.reason else "",
                message=outcome.message,
                attempts=outcome.attempts,
                seconds=outcome.seconds,
                source=outcome.source,
                sha256=outcome.sha256,
                path=outcome.path,
            )
            for outcome in ledger.outcomes(stage).values()
        ]
        sources += [
            SourceRecord(
                stage=stage,
                source=row.source,
                state=str(row.state or "pending"),
                reason=str(row.reason or ""),
                kind=row.reason.kind if row.reason else "",
                message=row.message,
                attempts=row.attempts,
                tool=row.tool,
                facts=dump_json(row.facts, indent=None),
            )
            for row in ledger.sources(stage).values()
        ]
    paths = [folder / "items.parquet", folder / "sources.parquet"]
    write_rows(paths[0], items, ItemRecord)
    write_rows(paths[1], sources, SourceRecord)
    return paths
