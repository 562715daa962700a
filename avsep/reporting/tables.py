"""The tables of the page as rows of text: results, breakdowns, comparisons and costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from avsep.evaluation.bootstrap import bootstrap_generator
from avsep.evaluation.compare import paired_difference
from avsep.evaluation.summary import FACES
from avsep.models.registry import MODELS
from avsep.reporting.gather import ModelResults
from avsep.reporting.numbers import (
    DASH,
    FigureText,
    figure_at,
    figure_text,
    number,
    scaled,
)

COMPARE_SAMPLES = 2000
NBSP = "\N{NO-BREAK SPACE}"


@dataclass(frozen=True)
class Column:
    """A column of figures.

    Attributes:
        title: its heading.
        path: where the figure is in `metrics_full.json`.
        decimals: number of decimals shown.
        factor: what the figure is multiplied by, e.g. 100 for per cent.
    """

    title: str
    path: tuple[str, ...]
    decimals: int
    factor: float = 1.0

    def text(self, metrics: Mapping[str, Any] | None) -> FigureText:
        """The figure of a model."""
        return figure_text(figure_at(metrics, *self.path), self.decimals, self.factor)

    def of_the_mixture(self, metrics: Mapping[str, Any] | None) -> FigureText:
        """The same figure of the unprocessed mixture; a dash where it has none."""
        *section, name = self.path
        return figure_text(figure_at(metrics, *section, f"{name}_mixture"), self.decimals)


_OWN = ("overall", "own")
COLUMNS = {
    "si_snri": Column("SI-SNRi (dB)", (*_OWN, "si_snri"), 2),
    "sdri": Column("SDRi (dB)", (*_OWN, "sdri"), 2),
    "sir": Column("SIR (dB)", (*_OWN, "sir"), 2),
    "pesq": Column("PESQ-WB", (*_OWN, "pesq"), 2),
    "stoi": Column("STOI", (*_OWN, "stoi"), 3),
    "estoi": Column("ESTOI", (*_OWN, "estoi"), 3),
    "worse": Column("Worse than the mixture (%)", ("faces", "worse"), 1, 100),
    "own": Column("Own video (dB)", (*_OWN, "si_snri"), 2),
    "other": Column("Other speaker's video (dB)", ("overall", "other", "si_snri"), 2),
    "none": Column("No video (dB)", ("overall", "none", "si_snri"), 2),
    "both_right": Column("Both faces right (%)", ("faces", "both_right"), 1, 100),
    "overlap": Column("Overlap", ("faces", "overlap"), 2),
}
QUALITY = ("si_snri", "sdri", "sir", "pesq", "stoi", "estoi", "worse")
VIDEO = ("own", "other", "none", "both_right", "overlap")


@dataclass(frozen=True, kw_only=True)
class TableRow:
    """One row of a table of figures.

    Attributes:
        name: heading of the row.
        cells: the figures by the name of their column.
        note: a remark under the heading, or empty.
    """

    name: str
    cells: Mapping[str, FigureText]
    note: str = ""


def result_rows(models: Sequence[ModelResults]) -> list[TableRow]:
    """A row for the unprocessed mixture, then one row per model, each with all of `COLUMNS`."""
    rows = []
    first = next((model for model in models if model.evaluated), None)
    if first is not None:
        cells = {name: column.of_the_mixture(first.metrics) for name, column in COLUMNS.items()}
        rows.append(TableRow(name="unprocessed mixture", cells=cells))
    for model in models:
        cells = {name: column.text(model.metrics) for name, column in COLUMNS.items()}
        rows.append(TableRow(name=model.title, cells=cells, note=model.missing))
    return rows


def faces_notes(models: Sequence[ModelResults]) -> list[str]:
    """One line per model: whether each face of a mixture gets its own voice."""
    notes = []
    for model in models:
        means = [figure_at(model.metrics, "faces", name) for name in FACES]
        right, overlap, worse = ((mean or {}).get("mean") for mean in means)
        if right is not None and worse is not None:
            notes.append(
                f"{model.title}: both faces right in {100 * right:.0f} % of the mixtures, overlap"
                f" {number(overlap, 2)}, {100 * worse:.0f} % of the voices worse than the mixture"
            )
    return notes


def _section(model: ModelResults, section: str) -> dict[str, Any]:
    value: Any = model.metrics or {}
    for step in section.split("."):
        value = value.get(step, {}) if isinstance(value, dict) else {}
    return value if isinstance(value, dict) else {}


def comparison_sentences(models: Sequence[ModelResults]) -> list[str]:
    """One sentence per pair of models of which one is an ablation of the other."""
    by_name = {model.name: model for model in models}
    sentences = []
    # A model that needs another one is that one with something added, e.g. VoViT's enhancer.
    for first_name, second_name in ((s.name, n) for s in MODELS.values() for n in s.needs):
        first, second = by_name.get(first_name), by_name.get(second_name)
        if not (first and second and first.rows and second.rows):
            continue
        found = paired_difference(
            first.rows,
            second.rows,
            "si_snri",
            generator=bootstrap_generator(0, f"{first_name}-{second_name}"),
            samples=COMPARE_SAMPLES,
        )
        difference = found.difference
        if not difference.known:
            continue
        interval = (
            f" (95 % interval {number(difference.low, 2)} to {number(difference.high, 2)})"
            if difference.has_interval
            else ""
        )
        sentences.append(
            f"{first.title} minus {second.title}, paired over {difference.rows} voices:"
            f" {number(difference.mean, 2)} dB SI-SNRi{interval}; better in"
            f" {100 * found.better_share:.0f} % of them."
        )
    return sentences


def problem_sentences(models: Sequence[ModelResults]) -> list[str]:
    """One sentence per metric that lacks values, with the reasons."""
    sentences = []
    for model in models:
        for condition, metrics in sorted(_section(model, "problems").items()):
            for metric, counts in sorted(metrics.items()):
                reasons = ", ".join(
                    f"{name.replace('_', ' ')} {n}" for name, n in sorted(counts.items())
                )
                sentences.append(
                    f"{model.title}, {condition} video: {metric} lacks some values ({reasons})."
                )
    return sentences


def cost_rows(models: Sequence[ModelResults]) -> list[tuple[str, list[str]]]:
    """The title and the cells of each model whose cost was measured."""
    rows = []
    for model in models:
        if (cost := model.cost) is None:
            continue
        seconds = cost["audio_s"]
        peak, loaded = cost["peak_memory_mb"], cost["model_memory_mb"]
        unknown = peak is None or loaded is None
        rows.append(
            (
                model.title,
                [
                    scaled(cost["parameters"], 1e6, 2, "M"),
                    scaled(cost["macs"] / seconds, 1e9, 2, "G"),
                    f"{1000 * cost['latency_s']:.0f}{NBSP}ms for {seconds:g}{NBSP}s",
                    f"{1000 * cost['cold_s']:.0f}{NBSP}ms",
                    f"{cost['real_time_factor']:.2f}",
                    DASH if unknown else f"{peak:.0f} / {loaded:.0f}{NBSP}MiB",
                    f"{cost['threads']} thread(s), {cost['device']}, {cost['machine']}",
                ],
            )
        )
    return rows
