"""The table of recorded mixtures: one row per model and set of them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from avsep.errors import CheckError
from avsep.evaluation.publish import METRICS_FULL
from avsep.models.registry import MODELS
from avsep.reporting.gather import json_if_there
from avsep.reporting.numbers import NO_FIGURE
from avsep.reporting.tables import Column, TableRow

COLUMNS = {
    name: Column(title, ("figures", name), decimals, factor)
    for name, title, decimals, factor in (
        ("si_snri", "SI-SNRi (dB)", 2, 1),
        ("sdri", "SDRi (dB)", 2, 1),
        ("pesq", "PESQ-WB", 2, 1),
        ("stoi", "STOI", 3, 1),
        ("both_right", "Both faces right (%)", 1, 100),
        ("overlap", "Overlap", 2, 1),
        ("dnsmos_ovr", "DNSMOS", 2, 1),
        ("nisqa_mos", "NISQA", 2, 1),
        ("worse", "Worse than the mixture (%)", 1, 100),
    )
}


def recorded_table(folders: Sequence[Path]) -> dict[str, Any] | None:
    """Titles and rows of the table, without columns that no folder has; None without folders.

    Raises:
        CheckError: a folder has no scores, or they are damaged.
    """
    rows = [_row(folder) for folder in folders]
    by_model = defaultdict(set)
    for row, folder in zip(rows, folders, strict=True):
        by_model[row.name].add(folder)
    rows = [
        replace(row, note=f"{_label(folder, by_model[row.name])}: {row.note}")
        for row, folder in zip(rows, folders, strict=True)
    ]
    names = [name for name in COLUMNS if any(row.cells[name] != NO_FIGURE for row in rows)]
    if not rows:
        return None
    return {
        "titles": [COLUMNS[name].title for name in names],
        "rows": [(row, [row.cells[name] for name in names]) for row in rows],
    }


def _label(folder: Path, among: Collection[Path]) -> str:
    """The end of the path of a folder, as long as it takes to tell it from others."""
    parts = 1
    while sum(other.parts[-parts:] == folder.parts[-parts:] for other in among) > 1:
        parts += 1
    return "/".join(folder.parts[-parts:])


def _row(folder: Path) -> TableRow:
    path = folder / METRICS_FULL
    metrics = json_if_there(path)
    if metrics is None:
        raise CheckError(
            f"report.recordings names {folder}, which has no {METRICS_FULL}; run `avsep recordings`"
            f" with --out {folder}."
        )
    try:
        name, counts = str(metrics["model"]), [int(metrics[n]) for n in ("recordings", "voices")]
        known = int(metrics["with_reference"])
        cells = {name: column.text(metrics) for name, column in COLUMNS.items()}
    except (KeyError, TypeError, ValueError) as error:
        raise CheckError(f"{path} is damaged: {type(error).__name__} {error}.") from error
    return TableRow(
        name=MODELS[name].title if name in MODELS else name,
        cells=cells,
        note=f"{counts[0]} recordings, {counts[1]} voices, {known} with a reference",
    )
