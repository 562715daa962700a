"""Figures of `metrics.json` as text: a mean, and its interval where there is one."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

DASH = "–"

# metric -> title, decimals
METRICS: dict[str, tuple[str, int]] = {
    "si_snri": ("SI-SNRi (dB)", 2),
    "sdri": ("SDRi (dB)", 2),
    "sir": ("SIR (dB)", 2),
    "pesq": ("PESQ-WB", 2),
    "stoi": ("STOI", 3),
    "estoi": ("ESTOI", 3),
    "si_snr": ("SI-SNR (dB)", 2),
    "sdr": ("SDR (dB)", 2),
}


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One figure of a table.

    Attributes:
        text: the mean, or a dash.
        interval: `low to high`, or empty.
        short: the interval with one decimal less, for narrow terminals.
        note: how many rows had no value, or empty.
    """

    text: str
    interval: str = ""
    short: str = ""
    note: str = ""

    @property
    def line(self) -> str:
        """All of it in one line."""
        return f"{self.text} [{self.interval}]" if self.interval else self.text


EMPTY = Cell(text=DASH)


def figure_at(metrics: Mapping[str, Any] | None, *path: str) -> Mapping[str, Any] | None:
    """The figure at a path of nested sections, or None where a step is missing."""
    value: Any = metrics
    for step in path:
        if not isinstance(value, Mapping) or step not in value:
            return None
        value = value[step]
    return value if isinstance(value, Mapping) and "mean" in value else None


def cell(figure: Mapping[str, Any] | None, decimals: int) -> Cell:
    """A figure as text."""
    if figure is None:
        return EMPTY
    excluded = int(figure.get("excluded", 0))
    low, high = figure.get("low"), figure.get("high")
    has_interval = low is not None and high is not None
    return Cell(
        text=number(figure["mean"], decimals),
        interval=f"{number(low, decimals)} to {number(high, decimals)}" if has_interval else "",
        short=f"{number(low, decimals - 1)}…{number(high, decimals - 1)}" if has_interval else "",
        note=f"without {excluded} of {excluded + int(figure['rows'])}" if excluded else "",
    )


def number(value: float | None, decimals: int) -> str:
    """A number with a true minus sign; a dash where there is none."""
    if value is None or not math.isfinite(value):
        return DASH
    rounded = round(value, decimals) + 0.0  # -0.00 is no figure
    return f"{rounded:.{decimals}f}".replace("-", "−")


def scaled(value: float | None, unit: float, decimals: int, suffix: str) -> str:
    """A large number in a larger unit: `7.00 M`."""
    if value is None or not math.isfinite(value):
        return DASH
    return f"{value / unit:.{decimals}f} {suffix}"
