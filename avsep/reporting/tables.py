"""The tables of the page as rows of text: results, breakdowns, comparisons and costs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from avsep.evaluation.bootstrap import bootstrap_generator
from avsep.evaluation.compare import paired_difference
from avsep.evaluation.summary import FACES
from avsep.models.registry import MODELS
from avsep.reporting.gather import ModelResults
from avsep.reporting.numbers import (
    DASH,
    METRICS,
    NO_FIGURE,
    FigureText,
    figure_at,
    figure_text,
    number,
    scaled,
)

RESULT_COLUMNS = ("si_snri", "sdri", "pesq", "stoi", "estoi")
COMPARE_SAMPLES = 2000


@dataclass(frozen=True, kw_only=True)
class TableRow:
    """One row of a table of figures.

    Attributes:
        name: heading of the row.
        cells: the figures, one per column.
        note: a remark under the heading, or empty.
    """

    name: str
    cells: tuple[FigureText, ...]
    note: str = ""


def result_rows(models: Sequence[ModelResults]) -> list[TableRow]:
    """A row for the unprocessed mixture, then one row per model.

    The columns are `RESULT_COLUMNS` with the speaker's own video, then SI-SNRi with the other
    speaker's video and with none, then `FACES`.
    """
    rows = []
    first = next((model for model in models if model.evaluated), None)
    if first is not None:
        mixture = [
            figure_text(
                figure_at(first.metrics, "overall", "own", f"{metric}_mixture"), METRICS[metric][1]
            )
            for metric in RESULT_COLUMNS[2:]
        ]
        empty = (NO_FIGURE,) * (2 + len(FACES))
        cells = (NO_FIGURE, NO_FIGURE, *mixture, *empty)
        rows.append(TableRow(name="unprocessed mixture", cells=cells))
    for model in models:
        own = [
            figure_text(figure_at(model.metrics, "overall", "own", metric), METRICS[metric][1])
            for metric in RESULT_COLUMNS
        ]
        rest = [
            figure_text(figure_at(model.metrics, "overall", condition, "si_snri"), 2)
            for condition in ("other", "none")
        ]
        faces = [
            figure_text(figure_at(model.metrics, "faces", metric), METRICS[metric][1])
            for metric in FACES
        ]
        cells = (*own, *rest, *faces)
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


def section_columns(models: Sequence[ModelResults], section: str) -> list[str]:
    """The names in the section `by_pair` or `by_group.<side>` of any model, sorted."""
    found: set[str] = set()
    for model in models:
        found |= _section(model, section).keys()
    return sorted(found)


def section_rows(models: Sequence[ModelResults], section: str) -> list[TableRow]:
    """SI-SNRi of each evaluated model, one column per name of `section_columns`."""
    names = section_columns(models, section)
    return [
        TableRow(
            name=model.title,
            cells=tuple(
                figure_text(figure_at(_section(model, section), name, "si_snri"), 2)
                for name in names
            ),
        )
        for model in models
        if model.evaluated
    ]


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
        rows.append(
            (
                model.title,
                [
                    scaled(cost["parameters"], 1e6, 2, "M"),
                    scaled(cost["macs"] / seconds, 1e9, 2, "G"),
                    f"{1000 * cost['latency_s']:.0f} ms for {seconds:g} s",
                    f"{1000 * cost['cold_s']:.0f} ms",
                    f"{cost['real_time_factor']:.2f}",
                    DASH if peak is None or loaded is None else f"{peak:.0f} / {loaded:.0f} MiB",
                    f"{cost['threads']} thread(s), {cost['device']}, {cost['machine']}",
                ],
            )
        )
    return rows
