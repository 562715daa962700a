"""Tables of figures as aligned Markdown, readable on a terminal and in a document."""

from __future__ import annotations

from collections.abc import Mapping, Sequence


def markdown(columns: Mapping[str, str], rows: Sequence[Mapping[str, object]]) -> str:
    """A Markdown table.

    Args:
        columns: key of a row to heading, in order.
        rows: values; a missing one or None becomes a dash, floats get three digits.
    """
    cells = [list(columns.values())]
    cells += [[_text(row.get(key)) for key in columns] for row in rows]
    widths = [max(len(line[i]) for line in cells) for i in range(len(columns))]
    lines = [
        " | ".join(cell.ljust(w) for cell, w in zip(line, widths, strict=True)) for line in cells
    ]
    lines.insert(1, " | ".join("-" * width for width in widths))
    return "\n".join(f"| {line} |" for line in lines)


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
