"""The table of results for the terminal, which `avsep results` prints."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from avsep.reporting.gather import gather_models
from avsep.reporting.numbers import FigureText
from avsep.reporting.tables import faces_notes, result_rows
from avsep.workspace import Workspace

if TYPE_CHECKING:
    from rich.table import Table

# heading, column of the results, whether to show its interval
COLUMNS = (
    ("SI-SNRi", "si_snri", True),
    ("SDRi", "sdri", True),
    ("SIR", "sir", False),
    ("PESQ", "pesq", False),
    ("STOI", "stoi", False),
    ("SI-SNRi with\nother's video", "other", True),
    ("SI-SNRi with\nno video", "none", True),
)
# What a terminal may lack, and how it is typed.
_PLAIN = str.maketrans({"\u2013": "-", "\u2212": "-", "\u2026": ".."})


def summary_table(workspace: Workspace, *, plain: bool = False) -> Table:
    """The means of each model with 95 % intervals; SI-SNRi and SDRi in dB.

    Args:
        workspace: folders of the project.
        plain: use characters of ASCII alone.

    Raises:
        CheckError: the files of an evaluation are damaged.
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
        title += f" ({mixtures} mixtures, {speakers} speakers that are not in training)"
    table = Table(
        title=title,
        caption="means in dB, PESQ-WB and STOI; in grey, the 95 % interval by target utterance",
        caption_justify="left",
        box=SIMPLE_HEAD,
        # Close set: on 80 columns no word is broken.
        pad_edge=False,
        collapse_padding=True,
    )
    table.add_column("model", overflow="fold")
    for column, _, _ in COLUMNS:
        table.add_column(column, justify="right", overflow="fold")
    notes = faces_notes(models)
    for row in result_rows(models):
        table.add_row(escape(row.name), *_texts(row.cells, plain=plain))
        if row.note:
            notes.append(f"{row.name}: {row.note}")
    if notes:
        table.caption = "\n".join([str(table.caption), *(escape(note) for note in notes)])
    return table


def _texts(cells: Mapping[str, FigureText], *, plain: bool) -> list[str]:
    texts = (
        f"{cells[name].text}\n[dim]{cells[name].short}[/dim]"
        if with_interval and cells[name].short
        else cells[name].text
        for _, name, with_interval in COLUMNS
    )
    return [text.translate(_PLAIN) if plain else text for text in texts]
