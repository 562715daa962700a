"""Charts as SVG data URIs that follow the reader's light or dark setting."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Mapping, Sequence
from textwrap import wrap
from typing import TYPE_CHECKING, Any

from avsep.damage import DAMAGES
from avsep.evaluation.conditions import Condition
from avsep.evaluation.results import ResultRow
from avsep.reporting.gather import ModelResults
from avsep.reporting.media import data_uri
from avsep.reporting.numbers import figure_at

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MAX_POINTS = 2000  # of one kind as shapes; more are drawn as one picture, whose size is limited
MAX_NAME = 36  # characters of a name in a chart
# Text and axes are drawn in this colour, which is then replaced by the reader's.
_INK = "#010203"
_STYLE = "<style>svg{color:#30363d}@media(prefers-color-scheme:dark){svg{color:#c9d1d9}}</style>"
_COLOURS = {Condition.OWN: "#2f81d8", Condition.OTHER: "#d9622b", Condition.NONE: "#8b949e"}
_SHORT = {
    Condition.OWN: "own video",
    Condition.OTHER: "other's video",
    Condition.NONE: "no video",
}
_MARKERS = {Condition.OWN: "o", Condition.OTHER: "x", Condition.NONE: "."}
_RC: Any = {
    "text.parse_math": False,  # a name with a dollar sign is not a formula
    "svg.hashsalt": "avsep",  # the same ids in each run
    "svg.fonttype": "none",  # text stays text
    "font.family": "sans-serif",
    "font.size": 9,
    **dict.fromkeys(
        ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), _INK
    ),
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.15,
    "grid.color": _INK,
    "legend.frameon": False,
    "axes.formatter.limits": (-4, 4),  # beyond, a power of ten beside the axis
}


def box_plot(models: Sequence[ModelResults]) -> str | None:
    """SI-SNRi of each model by condition; None if nothing was evaluated."""
    models = [model for model in models if model.rows]
    if not models:
        return None

    def draw(figure: Figure) -> None:
        axes = figure.add_subplot()
        conditions = list(Condition)
        for place, model in enumerate(models):
            for offset, condition in enumerate(conditions):
                rows = _scored(model, condition)
                if not rows:
                    continue
                colour = _COLOURS[condition]
                drawn = axes.boxplot(
                    [row.si_snri for row in rows],
                    positions=[place + 0.26 * (offset - 1)],
                    widths=0.2,
                    whis=(5, 95),
                    patch_artist=True,
                    boxprops={"facecolor": colour, "edgecolor": colour, "alpha": 0.55},
                    medianprops={"color": _INK, "linewidth": 1.6},
                    whiskerprops={"color": colour},
                    capprops={"color": colour},
                    flierprops={"marker": ".", "markersize": 3, "markeredgecolor": colour},
                )
                drawn["fliers"][0].set_rasterized(len(rows) > MAX_POINTS)
        axes.axhline(0, color=_INK, linewidth=0.8)
        room = max(6, 60 // len(models))  # letters that stand side by side
        names = ["\n".join(wrap(m.title, room, max_lines=2, placeholder="…")) for m in models]
        axes.set_xticks(range(len(models)), names)
        axes.set_ylabel("SI-SNRi (dB)")
        for condition in conditions:
            axes.plot([], [], color=_COLOURS[condition], linewidth=6, label=condition.label)
        figure.legend(loc="lower center", ncols=3)

    return svg_uri(draw, (7.2, 3.6), (0.7, 0.8, 0.1, 0.1))


def scatter_plots(models: Sequence[ModelResults]) -> list[tuple[str, str]]:
    """SI-SNRi over the SI-SNR of the mixture: title and chart of each model with rows.

    All have the same axes, so that they can be compared.
    """
    models = [model for model in models if any(_scored(model, c) for c in Condition)]
    rows = [row for model in models for c in Condition for row in _scored(model, c)]
    across = _limits([row.si_snr_mixture for row in rows])
    up = _limits([0.0, *(row.si_snri for row in rows)])
    return [(model.title, _scatter_plot(model, across, up)) for model in models]


def _limits(values: Sequence[float]) -> tuple[float, float]:
    """The ends of an axis that shows all values, with a margin."""
    known = [value for value in values if math.isfinite(value)] or [0.0]
    margin = 0.05 * (max(known) - min(known)) or 1.0
    return min(known) - margin, max(known) + margin


def _scatter_plot(model: ModelResults, across: tuple[float, float], up: tuple[float, float]) -> str:
    def draw(figure: Figure) -> None:
        axes = figure.add_subplot()
        for condition in Condition:
            rows = _scored(model, condition)
            axes.scatter(
                [row.si_snr_mixture for row in rows],
                [row.si_snri for row in rows],
                s=14,
                marker=_MARKERS[condition],
                color=_COLOURS[condition],
                alpha=0.8,
                label=_SHORT[condition],
                rasterized=len(rows) > MAX_POINTS,
            )
        axes.axhline(0, color=_INK, linewidth=0.8)
        axes.set_xlim(across)
        axes.set_ylim(up)
        axes.set_xlabel("SI-SNR of the mixture (dB)")
        axes.set_ylabel("SI-SNRi (dB)")
        axes.set_title(short(model.title))
        figure.legend(loc="lower center", ncols=3, handletextpad=0.1, columnspacing=1.0)

    return svg_uri(draw, (3.6, 3.2), (0.7, 0.8, 0.1, 0.3))


def damage_curves(models: Sequence[ModelResults]) -> str | None:
    """SI-SNRi against the severity of each damage; None if no model was tested with any."""
    kinds = [kind for kind in DAMAGES if any(_damage(model).get(kind) for model in models)]
    if not kinds:
        return None
    columns = min(4, len(kinds))
    rows = -(-len(kinds) // columns)

    def draw(figure: Figure) -> None:
        axes = None
        for place, kind in enumerate(kinds):
            axes = figure.add_subplot(rows, columns, place + 1, sharey=axes)
            for model in models:
                points = [(float(s), f["mean"]) for s, f in _damage(model).get(kind, {}).items()]
                if own := figure_at(model.metrics, "overall", "own", "si_snri"):
                    points.append((0.0, own["mean"]))
                if points:
                    axes.plot(
                        *zip(*sorted(points), strict=True), ".-", label=short(model.title, 24)
                    )
            axes.set_title(kind, fontsize=9)
            axes.set_xlim(-0.05, 1.05)
            axes.axhline(0, color=_INK, linewidth=0.8)
            axes.tick_params(labelleft=place % columns == 0)
            if place % columns == 0:
                axes.set_ylabel("SI-SNRi (dB)")
            if place >= len(kinds) - columns:
                axes.set_xlabel("severity")
        handles, labels = _each_once(figure)
        figure.legend(handles, labels, loc="lower center", ncols=3)
        figure.subplots_adjust(hspace=0.45)

    bottom = 0.6 + 0.2 * -(-len(models) // 3)
    return svg_uri(draw, (7.2, bottom + 1.9 * rows), (0.7, bottom, 0.1, 0.3))


def _each_once(figure: Figure) -> tuple[list[Any], list[str]]:
    """One handle and label for a legend of each label in a figure."""
    found: dict[str, Any] = {}
    for axes in figure.axes:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            found.setdefault(label, handle)
    return list(found.values()), list(found)


def _damage(model: ModelResults) -> Mapping[str, Any]:
    return (model.metrics or {}).get("damage", {})


def drop_bars(reasons: Sequence[tuple[str, int]]) -> str | None:
    """Dropped clips by reason; None if no clip was dropped."""
    if not reasons:
        return None

    from matplotlib.ticker import MaxNLocator

    names = [short(reason.replace("_", " ")) for reason, _ in reasons][::-1]

    def draw(figure: Figure) -> None:
        axes = figure.add_subplot()
        bars = axes.barh(names, [count for _, count in reasons][::-1], color="#2f81d8", height=0.6)
        axes.bar_label(bars, fmt="{:,.0f}", padding=3)
        axes.set_xlabel("clips")
        axes.set_xlim(0, 1.3 * max(1, *(count for _, count in reasons)))  # room for the counts
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        axes.xaxis.set_major_formatter("{x:,.0f}")
        axes.grid(visible=False, axis="y")

    left = 0.25 + 0.085 * max(map(len, names))
    return svg_uri(draw, (7.2, 0.7 + 0.3 * len(reasons)), (left, 0.5, 0.4, 0.1))


def short(name: str, limit: int = MAX_NAME) -> str:
    """A name that fits its place in a chart."""
    return name if len(name) <= limit else f"{name[: limit - 1]}…"


def _scored(model: ModelResults, condition: Condition) -> list[ResultRow]:
    """The rows of one condition that have an SI-SNRi."""
    return [row for row in model.rows if row.condition == condition and math.isfinite(row.si_snri)]


def svg_uri(
    draw: Callable[[Figure], None],
    size: tuple[float, float],
    margins: tuple[float, float, float, float] = (0.6, 0.5, 0.1, 0.15),
    *,
    between: float = 0.2,
) -> str:
    """Draw a chart and return it as an SVG data URI.

    Args:
        draw: draws the chart on a figure.
        size: width and height, in inches.
        margins: left, bottom, right and top margin, in inches.
        between: space between columns of charts, as a share of their width.
    """
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    with matplotlib.rc_context(_RC):
        figure = Figure(figsize=size)
        FigureCanvasSVG(figure)
        draw(figure)
        # Fixed margins, since matplotlib's automatic layout draws everything twice.
        left, bottom, right, top = margins
        figure.subplots_adjust(
            left=left / size[0],
            bottom=bottom / size[1],
            right=1 - right / size[0],
            top=1 - top / size[1],
            wspace=between,
        )
        buffer = io.StringIO()
        figure.savefig(
            buffer,
            format="svg",
            transparent=True,
            metadata={"Date": None, "Creator": None},  # no clock, no version
        )
    text = buffer.getvalue().replace(_INK, "currentColor")
    start = text.index(">", text.index("<svg")) + 1
    return data_uri((text[:start] + _STYLE + text[start:]).encode("utf-8"), "image/svg+xml")
