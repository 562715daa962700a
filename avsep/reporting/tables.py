"""The tables of the page as rows of cells: results, pairs, base voices, comparisons, cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from avsep.evaluation.bootstrap import bootstrap_generator
from avsep.evaluation.compare import paired_difference
from avsep.models.registry import MODELS
from avsep.reporting.gather import ModelResults
from avsep.reporting.numbers import (
    DASH,
    EMPTY,
    METRICS,
    Cell,
    cell,
    figure_at,
    number,
    scaled,
)

RESULT_COLUMNS = ("si_snri", "sdri", "pesq", "stoi", "estoi")
COMPARE_SAMPLES = 2000


@dataclass(frozen=True, kw_only=True)
class Line:
    """A named row of cells."""

    name: str
    cells: tuple[Cell, ...]
    note: str = ""


def result_lines(models: Sequence[ModelResults]) -> list[Line]:
    """The unprocessed mixture, then each model: own video, then SI-SNRi without the right video."""
    lines = []
    first = next((model for model in models if model.evaluated), None)
    if first is not None:
        base = [EMPTY, EMPTY]
        for metric in RESULT_COLUMNS[2:]:
            decimals = METRICS[metric][1]
            found = figure_at(first.metrics, "overall", "own", f"{metric}_mixture")
            base.append(cell(found, decimals))
        lines.append(Line(name="unprocessed mixture", cells=(*base, EMPTY, EMPTY)))
    for model in models:
        own = [
            cell(figure_at(model.metrics, "overall", "own", metric), METRICS[metric][1])
            for metric in RESULT_COLUMNS
        ]
        rest = [
            cell(figure_at(model.metrics, "overall", condition, "si_snri"), 2)
            for condition in ("other", "none")
        ]
        lines.append(Line(name=model.title, cells=(*own, *rest), note=model.missing))
    return lines


def section_columns(models: Sequence[ModelResults], section: str) -> list[str]:
    """The names in `by_pair` or `by_group.<side>` of any model, sorted."""
    found: set[str] = set()
    for model in models:
        found |= _section(model, section).keys()
    return sorted(found)


def section_lines(models: Sequence[ModelResults], section: str) -> list[Line]:
    """SI-SNRi of each evaluated model for each name of `section_columns`."""
    names = section_columns(models, section)
    return [
        Line(
            name=model.title,
            cells=tuple(
                cell(figure_at(_section(model, section), name, "si_snri"), 2) for name in names
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
    """Paired differences of the models that are one another's ablation."""
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
    """Which figures lack some rows, and why."""
    sentences = []
    for model in models:
        for condition, metrics in sorted(_section(model, "problems").items()):
            for metric, counts in sorted(metrics.items()):
                reasons = ", ".join(
                    f"{name.replace('_', ' ')} {n}" for name, n in sorted(counts.items())
                )
                sentences.append(
                    f"{model.title}, {condition} video: {metric} has no value for some ({reasons})."
                )
    return sentences


def cost_lines(models: Sequence[ModelResults]) -> list[tuple[str, list[str]]]:
    """Name and texts of each measured model."""
    lines = []
    for model in models:
        if (cost := model.cost) is None:
            continue
        seconds = cost["audio_s"]
        peak, loaded = cost["peak_memory_mb"], cost["model_memory_mb"]
        lines.append(
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
    return lines
