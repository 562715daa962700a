"""The ledger as parquet tables, for whoever wants to count with other tools."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from avsep.files import dump_json, write_table
from avsep.tables import ROWS_AT_ONCE, arrow_schema, table_of
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
    paths = [folder / "items.parquet", folder / "sources.parquet"]
    _write(
        paths[0],
        (record for stage in ledger.stages() for record in _items(ledger, stage)),
        ItemRecord,
    )
    _write(
        paths[1],
        (record for stage in ledger.stages() for record in _sources(ledger, stage)),
        SourceRecord,
    )
    return paths


def _items(ledger: Ledger, stage: str) -> Iterator[ItemRecord]:
    for outcome in ledger.each_outcome(stage):
        yield ItemRecord(
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


def _sources(ledger: Ledger, stage: str) -> Iterator[SourceRecord]:
    for row in ledger.sources(stage).values():
        yield SourceRecord(
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


def _write(path: Path, records: Iterator[Any], cls: type[Any]) -> None:
    """Write records as a table; some thousands at a time are held as objects."""
    import pyarrow as pa

    tables = [arrow_schema(cls).empty_table()]
    while part := list(islice(records, ROWS_AT_ONCE)):
        tables.append(table_of(part, cls))
    write_table(path, pa.concat_tables(tables).combine_chunks())
