"""SI-SNRi on parts of the test list: by genders, by base voice and by speaker."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from avsep.evaluation.both_faces import worse
from avsep.evaluation.conditions import Condition
from avsep.evaluation.results import ResultRow
from avsep.reporting.gather import ModelResults
from avsep.reporting.numbers import NO_FIGURE, FigureText, figure_at, figure_text, number

MAX_ROWS = 24  # of one kind


@dataclass(frozen=True, kw_only=True)
class Part:
    """One part of the list.

    Attributes:
        name: its name.
        note: a remark under the name, or empty.
        voices: number of wanted voices in it.
        cells: SI-SNRi of each model.
    """

    name: str
    note: str = ""
    voices: int
    cells: tuple[FigureText, ...]


@dataclass(frozen=True, kw_only=True)
class Kind:
    """Parts of one kind.

    Attributes:
        title: what they have in common.
        parts: the parts; never empty.
    """

    title: str
    parts: tuple[Part, ...]


_PAIRS = {"ff": "two female voices", "fm": "a female and a male voice", "mm": "two male voices"}


def parts(models: Sequence[ModelResults]) -> list[Kind]:
    """All parts, for the models that were evaluated (one cell each, in their order)."""
    models = [model for model in models if model.evaluated]
    kinds = (
        Kind(title="By genders of the pair", parts=_of_section(models, "by_pair", _PAIRS)),
        *_by_base_voice(models),
        _by_speaker(models),
    )
    return [kind for kind in kinds if kind.parts]


def _by_base_voice(models: Sequence[ModelResults]) -> list[Kind]:
    """Nothing where a base voice is just another word for the speaker."""
    if all(row.group == row.speaker for model in models for row in model.rows):
        return []
    found = []
    for side, title in (
        ("unheard", "Base voices that occur only in the test set"),
        ("heard", "Base voices that training speakers have too"),
    ):
        together = _of_section(models, "by_group", {f"all_{side}": "all of them"})
        single = _of_section(models, f"by_group.{side}")
        # A corpus without groups has one per speaker: too many to show.
        single = single if len(single) <= MAX_ROWS else ()
        found.append(Kind(title=title, parts=together + single))
    return found


def _of_section(
    models: Sequence[ModelResults], section: str, titles: Mapping[str, str] | None = None
) -> tuple[Part, ...]:
    """The parts in a section of `metrics_full.json`: those of `titles`, or all."""
    sections = [_at(model.metrics, section) for model in models]
    found = []
    for name in titles or sorted({name for names in sections for name in names}):
        figures = [figure_at(names, name, "si_snri") for names in sections]
        if voices := max((int(figure["rows"]) for figure in figures if figure), default=0):
            cells = tuple(figure_text(figure, 2) for figure in figures)
            found.append(Part(name=(titles or {}).get(name, name), voices=voices, cells=cells))
    return tuple(found)


def _at(metrics: Any, section: str) -> Mapping[str, Any]:
    for step in section.split("."):
        metrics = metrics.get(step, {}) if isinstance(metrics, Mapping) else {}
    return metrics if isinstance(metrics, Mapping) else {}


def _by_speaker(models: Sequence[ModelResults]) -> Kind:
    """The speakers with the lowest means first."""
    of_models = [_rows_by_speaker(model.rows) for model in models]
    by_mean = []
    for speaker in {name for found in of_models for name in found}:
        rows = [found.get(speaker, []) for found in of_models]
        mean = _mean(row.si_snri for of_model in rows for row in of_model)
        by_mean.append((-math.inf if math.isnan(mean) else mean, speaker, rows))
    by_mean.sort(key=lambda found: found[:2])
    title = "By wanted speaker"
    if len(by_mean) > MAX_ROWS:
        title += f": the {MAX_ROWS} of {len(by_mean)} with the lowest figures"
    found = [
        Part(
            name=speaker,
            note=_voice(next(filter(None, rows))[0]),
            voices=max(map(len, rows)),
            cells=tuple(map(_speaker_cell, rows)),
        )
        for _, speaker, rows in by_mean[:MAX_ROWS]
    ]
    return Kind(title=title, parts=tuple(found))


def _rows_by_speaker(rows: Sequence[ResultRow]) -> dict[str, list[ResultRow]]:
    found = defaultdict(list)
    for row in rows:
        if row.condition == Condition.OWN:
            found[row.speaker].append(row)
    return found


def _voice(row: ResultRow) -> str:
    """Gender and base voice of a speaker, as far as they say anything."""
    gender = {"f": "female", "m": "male"}.get(row.gender, "")
    group = "" if row.group == row.speaker else row.group
    return ", ".join(filter(None, (gender, group)))


def _speaker_cell(rows: Sequence[ResultRow]) -> FigureText:
    if not rows:
        return NO_FIGURE
    share = number(100 * _mean(worse(rows)), 0)
    return FigureText(text=number(_mean(r.si_snri for r in rows), 2), note=f"{share} % worse")


def _mean(values: Iterable[float]) -> float:
    known = [value for value in values if math.isfinite(value)]
    return sum(known) / len(known) if known else math.nan
