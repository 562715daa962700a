"""Format the figures of `metrics_full.json`: a mean, and its interval if there is one."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

DASH = "–"


@dataclass(frozen=True, kw_only=True)
class FigureText:
    """A figure as text.

    Attributes:
        text: the mean, or a dash.
        interval: the interval as `low to high`, or empty.
        short: the interval with one decimal less, for narrow terminals.
        note: how many rows have no value, or empty.
    """

    text: str
    interval: str = ""
    short: str = ""
    note: str = ""


NO_FIGURE = FigureText(text=DASH)


def figure_at(metrics: Mapping[str, Any] | None, *path: str) -> Mapping[str, Any] | None:
    """The figure at a path of nested sections; None if it is missing."""
    value: Any = metrics
    for step in path:
        if not isinstance(value, Mapping) or step not in value:
            return None
        value = value[step]
    return value if isinstance(value, Mapping) and "mean" in value else None


def figure_text(figure: Mapping[str, Any] | None, decimals: int, factor: float = 1.0) -> FigureText:
    """A figure of `metrics_full.json`, times a factor, as text; a dash if there is none."""
    if figure is None:
        return NO_FIGURE
    excluded = int(figure.get("excluded", 0))
    interval = short = ""
    if (low := figure.get("low")) is not None and (high := figure.get("high")) is not None:
        low, high, fewer = factor * low, factor * high, max(0, decimals - 1)
        interval = f"{number(low, decimals)} to {number(high, decimals)}"
        short = f"{number(low, fewer)}…{number(high, fewer)}"
    return FigureText(
        text=number(factor * figure["mean"], decimals),
        interval=interval,
        short=short,
        note=f"without {excluded} of {excluded + int(figure['rows'])}" if excluded else "",
    )


def number(value: float | None, decimals: int) -> str:
    """A number with a true minus sign; a dash if there is none."""
    if value is None or not math.isfinite(value):
        return DASH
    rounded = round(value, decimals) + 0.0  # -0.00 becomes 0.00
    return f"{rounded:.{decimals}f}".replace("-", "−")


def scaled(value: float | None, unit: float, decimals: int, suffix: str) -> str:
    """A large number in a larger unit, e.g. `7.00 M`."""
    if value is None or not math.isfinite(value):
        return DASH
    return f"{value / unit:.{decimals}f} {suffix}"
