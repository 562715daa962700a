"""Markdown tables, for the data card of a set of shards and for benchmarks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def markdown_table(
    header: Sequence[str], rows: Iterable[Sequence[object]], *, aligned: bool = False
) -> list[str]:
    """The lines of a Markdown table.

    Args:
        header: headings of the columns.
        rows: cells of each row.
        aligned: whether cells are padded, so that the table is readable on a terminal.
    """
    # A cell may be free text, e.g. the licence of a corpus: it must not break the table.
    table = [header, *rows]
    cells = [[str(cell).replace("|", "\\|").replace("\n", " ") for cell in row] for row in table]
    widths = [max(map(len, column)) if aligned else 0 for column in zip(*cells, strict=True)]
    lines = [
        f"| {' | '.join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))} |"
        for row in cells
    ]
    rules = [f" {'-' * width} " if aligned else "---" for width in widths]
    lines.insert(1, f"|{'|'.join(rules)}|")
    return lines
