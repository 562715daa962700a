"""Figures of benchmarks as Markdown tables, readable on a terminal and in a document."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from avsep.markdown import markdown_table


def markdown(columns: Mapping[str, str], rows: Sequence[Mapping[str, object]]) -> str:
    """A Markdown table of figures.

    Args:
        columns: heading of each column by its key in the rows, in order.
        rows: values by key. A missing value or None becomes a dash; floats get three digits.
    """
    cells = [[_text(row.get(key)) for key in columns] for row in rows]
    return "\n".join(markdown_table(list(columns.values()), cells, aligned=True))


def _text(value: object) -> str:
    if value is None or value != value:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        if value and abs(value) < 1e-2:
            return f"{value:.1e}"
        return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"
    return str(value)
