"""Write the files of an evaluation: results, metrics and plot data."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Collection, Sequence
from pathlib import Path

from avsep.evaluation.results import ResultRow, write_results
from avsep.evaluation.summary import headline, summarise
from avsep.files import write_json, write_text

METRICS_FULL = "metrics_full.json"
RECORDINGS = "recordings"  # folder with one folder per set of recorded mixtures
PLOT_FIELDS = ("mixture_id", "target", "condition", "pair", "si_snr_mixture", "si_snri", "sdri")


def publish(
    directory: Path,
    rows: Sequence[ResultRow],
    *,
    heard_groups: Collection[str],
    seed: int,
    samples: int,
) -> None:
    """Write the results, their summary, and what DVC shows of them.

    The files are `results.parquet`, `metrics_full.json` (every figure with its interval),
    `metrics.json` (DVC metrics: the headline of the full one) and `plots/si_snri.csv` (DVC plots).

    Args:
        directory: folder of this evaluation.
        rows: all results.
        heard_groups: groups of voices in training or validation, see `summary.summarise`.
        seed: seed of the bootstrap.
        samples: number of bootstrap resamples.
    """
    ordered = sorted(rows, key=lambda row: row.order)
    write_results(directory / "results.parquet", ordered)
    figures = summarise(ordered, heard_groups=heard_groups, seed=seed, samples=samples)
    write_json(directory / METRICS_FULL, figures)
    write_json(directory / "metrics.json", headline(figures))
    write_text(directory / "plots" / "si_snri.csv", _plot_csv(ordered))


def _plot_csv(rows: Sequence[ResultRow]) -> str:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(PLOT_FIELDS)
    for row in rows:
        writer.writerow([_cell(getattr(row, field)) for field in PLOT_FIELDS])
    return buffer.getvalue()


def _cell(value: str | int | float) -> str:
    if isinstance(value, float):
        return f"{value:.4f}" if math.isfinite(value) else ""
    return str(value)
