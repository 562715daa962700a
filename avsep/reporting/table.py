"""The table of results for the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from avsep.reporting.gather import gather_models
from avsep.reporting.numbers import Cell
from avsep.reporting.tables import result_lines
from avsep.workspace import Workspace

if TYPE_CHECKING:
    from rich.table import Table

# title, place in a line of results, with its interval
COLUMNS = (
    ("SI-SNRi", 0, True),
    ("SDRi", 1, True),
    ("PESQ", 2, False),
    ("STOI", 3, False),
    ("SI-SNRi with\nother's video", 5, True),
    ("SI-SNRi with\nno video", 6, True),
)


def summary_table(workspace: Workspace) -> Table:
    """Means of each model with 95 % intervals; SI-SNRi and SDRi in dB.

    Raises:
        CheckError: an evaluation is there but damaged.
    """
    from rich.box import SIMPLE_HEAD
    from rich.markup import escape
    from rich.table import Table

    models = gather_models(workspace)
    counts = {
        (model.metrics["mixtures"], model.metrics["speakers"])
        for model in models
        if model.metrics is not None
    }
    title = "Separation of test mixtures"
    if len(counts) == 1:
        mixtures, speakers = counts.pop()
        title += f" ({mixtures} mixtures, {speakers} speakers that training never met)"
    table = Table(
        title=title,
        caption="means in dB, PESQ-WB, STOI; in grey the 95 % interval by target utterance",
        box=SIMPLE_HEAD,
    )
    table.add_column("model", overflow="fold")
    for column, _, _ in COLUMNS:
        table.add_column(column, justify="right", overflow="fold")
    notes = []
    for line in result_lines(models):
        table.add_row(escape(line.name), *_texts(line.cells))
        if line.note:
            notes.append(f"{line.name}: {line.note}")
    if notes:
        table.caption = "\n".join([str(table.caption), *(escape(note) for note in notes)])
    return table


def _texts(cells: Sequence[Cell]) -> list[str]:
    return [
        f"{cells[place].text}\n[dim]{cells[place].short}[/dim]"
        if with_interval and cells[place].short
        else cells[place].text
        for _, place, with_interval in COLUMNS
    ]
