"""The curves of a training: its loss, and its scores on the validation list."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from avsep.reporting.charts import short, svg_uri
from avsep.reporting.training import Training

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLUMNS = 2
LOSS = "training loss"
MAX_LABEL = 22  # characters that fit beside a chart
SMOOTHED_SHARE = 0.05  # of a curve: the width of its running mean
# What a score of a validation is measured in, and its name for people; others have one panel each.
_KNOWN = {
    "si_sdr": ("validation (dB)", "SI-SDR"),
    "si_sdri": ("validation (dB)", "SI-SDRi"),
    "wrong_si_sdri": ("validation (dB)", "SI-SDRi of the other voice"),
    "recon": ("validation loss", "reconstruction"),
    "commit": ("validation loss", "commitment"),
    "distill": ("validation loss", "distillation"),
    "codes_used": ("codes used", "codes used"),
}

Curve = tuple[str, Sequence[float], Sequence[float]]
"""Name, steps and values."""


def training_curves(training: Training) -> str | None:
    """Losses and validation scores over the steps, as an SVG data URI; None without a log."""
    losses, scores = _losses(training), _scores(training)
    panels = [(LOSS, [losses]), *scores.items()] if losses else list(scores.items())
    if not panels:
        return None
    rows = -(-len(panels) // COLUMNS)
    last = max(1.0, *(steps[-1] for _, curves in panels for _, steps, _ in curves))

    def draw(figure: Figure) -> None:
        for place, (unit, curves) in enumerate(panels, 1):
            axes = figure.add_subplot(rows, COLUMNS, place)
            axes.set_xlim(0, last * 1.03)
            axes.set_ylabel(short(unit, MAX_LABEL))
            if place > len(panels) - COLUMNS:
                axes.set_xlabel("step")
            for name, steps, values in curves:
                if unit == LOSS:
                    _draw_loss(axes, steps, values)
                else:
                    axes.plot(steps, values, ".-", label=name, linewidth=1.4)
            if [name for name, _, _ in curves] != [unit]:
                axes.legend(
                    loc="lower left",
                    bbox_to_anchor=(-0.15, 0.99),
                    ncols=len(curves),
                    fontsize=7,
                    columnspacing=0.9,
                    handlelength=1.2,
                    handletextpad=0.4,
                )
        figure.subplots_adjust(hspace=0.5)

    return svg_uri(draw, (7.2, 0.75 + 1.85 * rows), (0.7, 0.45, 0.25, 0.3), between=0.4)


def _losses(training: Training) -> Curve | None:
    """The loss of each step; where that is not left, the means between validations."""
    steps, losses = training.losses
    if not len(steps):
        log = training.log
        steps, losses = _finite(log.get("step", ()), log.get("train_loss", ()))
    return (LOSS, steps, losses) if len(steps) else None


def _scores(training: Training) -> dict[str, list[Curve]]:
    """The curves of the validations by what they are measured in."""
    log: Mapping[str, Sequence[float]] = training.log
    found: dict[str, list[Curve]] = {}
    for column, values in log.items():
        name = column.removeprefix("val_")
        points = _finite(log.get("step", ()), values)
        if name == "si_sdr" and "val_si_sdri" in log:
            continue  # the same curve, shifted by what the mixtures begin with
        if name != column and points[0]:
            unit, title = _KNOWN.get(name, (name.replace("_", " "), name.replace("_", " ")))
            found.setdefault(unit, []).append((title, *points))
    return found


def _finite(steps: Sequence[float], values: Sequence[float]) -> tuple[list[float], list[float]]:
    pairs = [p for p in zip(steps, values, strict=False) if all(map(math.isfinite, p))]
    return [step for step, _ in pairs], [value for _, value in pairs]


def _draw_loss(axes: Axes, steps: Sequence[float], values: Sequence[float]) -> None:
    """Each value thinly, and their running mean."""
    width = max(1, round(SMOOTHED_SHARE * len(values)))
    if width == 1:
        axes.plot(steps, values, ".-", linewidth=1.4)
        return
    axes.plot(steps, values, linewidth=0.6, alpha=0.45, color="#2f81d8")
    means = np.convolve(values, np.ones(width) / width, "valid")
    axes.plot(steps[width // 2 :][: len(means)], means, linewidth=1.6, color="#2f81d8")
