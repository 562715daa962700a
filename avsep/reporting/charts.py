"""Charts as SVG data URIs that follow the reader's light or dark setting."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from avsep.evaluation.conditions import Condition
from avsep.evaluation.results import ResultRow
from avsep.reporting.gather import ModelResults
from avsep.reporting.media import data_uri
from avsep.reporting.numbers import figure_at
from avsep.visual_damage import DAMAGES

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MAX_POINTS = 2000  # of one kind as shapes; more are drawn as one picture, whose size is limited
# Text and axes are drawn in this colour, which is then replaced by the reader's.
_INK = "#010203"
_STYLE = "<style>svg{color:#30363d}@media(prefers-color-scheme:dark){svg{color:#c9d1d9}}</style>"
_COLOURS = {Condition.OWN: "#2f81d8", Condition.OTHER: "#d9622b", Condition.NONE: "#8b949e"}
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
        axes.set_xticks(range(len(models)), [model.title for model in models])
        axes.set_ylabel("SI-SNRi (dB)")
        for condition in conditions:
            axes.plot([], [], color=_COLOURS[condition], linewidth=6, label=condition.label)
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.08), ncols=3)

    return svg_uri(draw, (7.2, 3.6), (0.6, 0.65, 0.1, 0.1))


def scatter_plot(model: ModelResults) -> str | None:
    """SI-SNRi of one model over the SI-SNR of the mixture; None without rows."""
    if not model.rows:
        return None

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
                label=condition.label,
                rasterized=len(rows) > MAX_POINTS,
            )
        axes.axhline(0, color=_INK, linewidth=0.8)
        axes.set_xlabel("SI-SNR of the mixture (dB)")
        axes.set_ylabel("SI-SNRi (dB)")
        axes.set_title(model.title)

    return svg_uri(draw, (3.6, 2.9), (0.6, 0.5, 0.1, 0.3))


def damage_curves(models: Sequence[ModelResults]) -> str | None:
    """SI-SNRi against the severity of each damage; None if no model was tested with any."""
    kinds = [kind for kind in DAMAGES if any(_damage(model).get(kind) for model in models)]
    if not kinds:
        return None
    columns = min(4, len(kinds))
    rows = -(-len(kinds) // columns)

    def draw(figure: Figure) -> None:
        for place, kind in enumerate(kinds):
            axes = figure.add_subplot(rows, columns, place + 1)
            for model in models:
                points = [(float(s), f["mean"]) for s, f in _damage(model).get(kind, {}).items()]
                if own := figure_at(model.metrics, "overall", "own", "si_snri"):
                    points.append((0.0, own["mean"]))
                if points:
                    axes.plot(*zip(*sorted(points), strict=True), ".-", label=model.title)
            axes.set_title(kind, fontsize=9)
            axes.set_xlim(-0.05, 1.05)
            axes.axhline(0, color=_INK, linewidth=0.8)
            if place % columns == 0:
                axes.set_ylabel("SI-SNRi (dB)")
            if place >= len(kinds) - columns:
                axes.set_xlabel("severity")
        figure.axes[0].legend(fontsize=7)
        figure.subplots_adjust(hspace=0.45)

    return svg_uri(draw, (7.2, 0.5 + 1.9 * rows), (0.6, 0.5, 0.1, 0.3))


def _damage(model: ModelResults) -> Mapping[str, Any]:
    return (model.metrics or {}).get("damage", {})


def training_curves(model: ModelResults) -> str | None:
    """Losses and validation scores of one model over the steps; None without a log."""
    steps = model.log.get("step", [])
    losses = [name for name in model.log if name.startswith("train_")]
    scores = [name for name in model.log if name.startswith("val_")]
    panels = [names for names in (losses, scores) if names]
    if not steps or not panels:
        return None

    def draw(figure: Figure) -> None:
        for place, names in enumerate(panels):
            axes = figure.add_subplot(1, len(panels), place + 1)
            for name in names:
                points = [
                    (step, value)
                    for step, value in zip(steps, model.log[name], strict=True)
                    if math.isfinite(step) and math.isfinite(value)
                ]
                axes.plot(*zip(*points, strict=True), label=name, linewidth=1.4) if points else None
            axes.set_xlabel("step")
            axes.legend(fontsize=8)

    return svg_uri(draw, (7.2, 2.6))


def drop_bars(reasons: Sequence[tuple[str, int]]) -> str | None:
    """Dropped clips by reason; None if no clip was dropped."""
    if not reasons:
        return None

    def draw(figure: Figure) -> None:
        axes = figure.add_subplot()
        names = [reason.replace("_", " ") for reason, _ in reasons][::-1]
        bars = axes.barh(names, [count for _, count in reasons][::-1], color="#2f81d8", height=0.6)
        axes.bar_label(bars, padding=3)
        axes.set_xlabel("clips")
        axes.grid(visible=False, axis="y")

    return svg_uri(draw, (7.2, 0.7 + 0.3 * len(reasons)), (1.8, 0.5, 0.4, 0.1))


def _scored(model: ModelResults, condition: Condition) -> list[ResultRow]:
    """The rows of one condition that have an SI-SNRi."""
    return [row for row in model.rows if row.condition == condition and math.isfinite(row.si_snri)]


def svg_uri(
    draw: Callable[[Figure], None],
    size: tuple[float, float],
    margins: tuple[float, float, float, float] = (0.6, 0.5, 0.1, 0.15),
) -> str:
    """Draw a chart and return it as an SVG data URI.

    Args:
        draw: draws the chart on a figure.
        size: width and height, in inches.
        margins: left, bottom, right and top margin, in inches.
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
            wspace=0.2,
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
