"""How the scores of clips and samples are spread: what a filter would take, before it is set."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from avsep.cleaning.select import clip_scores
from avsep.errors import Reason
from avsep.reporting.charts import svg_uri
from avsep.schema import Clip
from avsep.tables import read_rows
from avsep.workspace import Workspace

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLUMNS = 3
BINS = 30
# Facts of the file, not of its quality.
_LEFT_OUT = frozenset({"audio_rate_hz", "channels", "crop_scale", "source_width", "source_height"})


@dataclass
class Score:
    """The values of one score.

    Attributes:
        taken: of the items that were kept.
        left: of those that were dropped by a wish or a limit.
    """

    taken: list[float] = field(default_factory=list)
    left: list[float] = field(default_factory=list)


def gather_scores(workspace: Workspace) -> dict[str, Score]:
    """All scores by name: of raw clips from `clean`, then of samples from `extract`.

    Raises:
        CheckError: a table is damaged.
    """
    scores: dict[str, Score] = defaultdict(Score)
    path = workspace.clips / "clips.parquet"
    for clip in read_rows(path, Clip) if path.is_file() else []:
        if clip.kept or clip.reason == str(Reason.NOT_SELECTED):
            for name, value in clip_scores(clip).items():
                _add(scores, name, value, taken=clip.kept)
    if (workspace.shards / "index.parquet").is_file():
        from avsep.shards.index import read_index

        of_clips = set(scores)
        for row in read_index(workspace.shards):
            for name, value in row.quality.items():
                if name not in of_clips:
                    _add(scores, name, value, taken=True)
    return {name: score for name, score in scores.items() if len(set(score.taken)) > 1}


def _add(scores: dict[str, Score], name: str, value: float | str, *, taken: bool) -> None:
    if isinstance(value, str) or not math.isfinite(value) or name in _LEFT_OUT:
        return
    (scores[name].taken if taken else scores[name].left).append(value)


def histograms(scores: dict[str, Score]) -> str | None:
    """One small histogram a score as a data URI; None where there are none."""
    if not scores:
        return None
    lines = -(-len(scores) // COLUMNS)

    def draw(figure: Figure) -> None:
        for place, (name, score) in enumerate(scores.items(), 1):
            axes = figure.add_subplot(lines, COLUMNS, place)
            every = np.array(score.taken + score.left)
            edges = np.histogram_bin_edges(every, BINS)
            taken, _ = np.histogram(score.taken, edges)
            left, _ = np.histogram(score.left, edges)
            width = np.diff(edges)
            axes.bar(edges[:-1], taken, width, align="edge", color="#2f81d8")
            axes.bar(edges[:-1], left, width, bottom=taken, align="edge", color="#d9622b")
            axes.set_title(name, fontsize=8)
            axes.tick_params(labelsize=6)
        figure.subplots_adjust(hspace=0.75)

    return svg_uri(draw, (7.2, 0.3 + 1.25 * lines), (0.4, 0.3, 0.1, 0.25))
