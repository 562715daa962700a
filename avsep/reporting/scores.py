"""Histograms of the scores of clips and samples, which show what a selection would drop."""

from __future__ import annotations

import math
from array import array
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from avsep.cleaning.select import clip_scores
from avsep.errors import Reason
from avsep.reporting.charts import svg_uri
from avsep.schema import Clip
from avsep.tables import open_rows
from avsep.workspace import Workspace

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLUMNS = 3
BINS = 30
# Properties of the file that say nothing about its quality.
_LEFT_OUT = frozenset({"audio_rate_hz", "channels", "crop_scale", "source_width", "source_height"})


def _numbers() -> array[float]:
    return array("d")  # a list of a million floats takes four times as much


@dataclass
class Score:
    """The values of one score.

    Attributes:
        kept: values of the items that were kept.
        dropped: values of the items that the selection dropped.
    """

    kept: array[float] = field(default_factory=_numbers)
    dropped: array[float] = field(default_factory=_numbers)


def gather_scores(workspace: Workspace) -> dict[str, Score]:
    """All scores by name: of raw clips from `clean`, then of samples from `extract`.

    Raises:
        CheckError: a table is damaged.
    """
    scores: dict[str, Score] = defaultdict(Score)
    path = workspace.clips / "clips.parquet"
    for clip in open_rows(path, Clip) if path.is_file() else ():
        if clip.kept or clip.reason == str(Reason.NOT_SELECTED):
            for name, value in clip_scores(clip).items():
                _add(scores, name, value, kept=clip.kept)
    if (workspace.shards / "index.parquet").is_file():
        from avsep.shards.index import read_index

        for name, values in read_index(workspace.shards).scores().items():
            if name not in scores and name not in _LEFT_OUT:
                scores[name].kept.extend(values[np.isfinite(values)])
    return {
        name: score
        for name, score in scores.items()
        if score.kept and min(score.kept) < max(score.kept)
    }


def _add(scores: dict[str, Score], name: str, value: float | str, *, kept: bool) -> None:
    if isinstance(value, str) or not math.isfinite(value) or name in _LEFT_OUT:
        return
    (scores[name].kept if kept else scores[name].dropped).append(value)


def histograms(scores: dict[str, Score]) -> str | None:
    """One small histogram per score, as an SVG data URI; None if there are no scores."""
    if not scores:
        return None
    rows = -(-len(scores) // COLUMNS)

    def draw(figure: Figure) -> None:
        for position, (name, score) in enumerate(scores.items(), 1):
            axes = figure.add_subplot(rows, COLUMNS, position)
            edges = np.histogram_bin_edges(np.array(score.kept + score.dropped), BINS)
            kept, _ = np.histogram(score.kept, edges)
            dropped, _ = np.histogram(score.dropped, edges)
            width = np.diff(edges)
            axes.bar(edges[:-1], kept, width, align="edge", color="#2f81d8")
            axes.bar(edges[:-1], dropped, width, bottom=kept, align="edge", color="#d9622b")
            axes.set_title(name, fontsize=8)
            axes.tick_params(labelsize=6)
            for axis in (axes.xaxis, axes.yaxis):
                axis.get_offset_text().set_fontsize(6)
            if position % COLUMNS == 1:
                axes.set_ylabel("items", fontsize=7)
        figure.subplots_adjust(hspace=0.75)

    return svg_uri(draw, (7.2, 0.4 + 1.25 * rows), (0.5, 0.4, 0.25, 0.25))
