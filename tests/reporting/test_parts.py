"""Figures of parts of the list: genders, base voices and speakers."""

from dataclasses import replace

import pytest

from avsep.evaluation.results import ResultRow
from avsep.evaluation.summary import summarise
from avsep.reporting.gather import ModelResults
from avsep.reporting.parts import MAX_ROWS, parts
from tests.support.report_world import make_recipe, make_rows


def evaluated(rows: list[ResultRow], heard=()) -> ModelResults:
    metrics = summarise(rows, heard_groups=set(heard), seed=0, samples=20)
    return ModelResults(name="dolphin", metrics=metrics, rows=tuple(rows))


@pytest.fixture(scope="module")
def rows() -> list[ResultRow]:
    return make_rows([make_recipe(n) for n in range(14)], 5.0, seed=0)


def titles(model: ModelResults) -> dict[str, list[str]]:
    return {kind.title: [part.name for part in kind.parts] for kind in parts([model])}


def test_kinds_without_parts_are_left_out(rows):
    assert list(titles(evaluated(rows, heard={"voice-a", "voice-b"}))) == [
        "By genders of the pair",
        "Base voices that training speakers have too",
        "By wanted speaker",
    ]
    unknown = [replace(row, pair="", gender="", group=row.speaker) for row in rows]
    found = parts([evaluated(unknown)])
    assert [kind.title for kind in found] == ["By wanted speaker"]
    assert {part.note for part in found[0].parts} == {""}
    assert parts([ModelResults(name="vovit")]) == []


def test_of_many_speakers_those_with_the_lowest_figures_are_shown(rows):
    many = [
        replace(row, speaker=f"s{n:03d}", group=f"s{n:03d}", si_snri=float(n))
        for n in range(100)
        for row in rows[:3]
    ]
    (kind,) = [kind for kind in parts([evaluated(many)]) if "speaker" in kind.title]
    assert kind.title == f"By wanted speaker: the {MAX_ROWS} of 100 with the lowest figures"
    assert [part.name for part in kind.parts] == [f"s{n:03d}" for n in range(MAX_ROWS)]
    assert [part.cells[0].text for part in kind.parts[:3]] == ["0.00", "1.00", "2.00"]


def test_a_speaker_that_one_model_lacks_and_estimates_that_are_silent(rows):
    some = [row for row in rows if row.speaker == "demo-s00"]
    silent = [replace(r, si_snri=float("nan"), problems="si_snr=silent_estimate") for r in some]
    found = parts([evaluated(rows), evaluated(silent)])[-1]
    by_name = {part.name: part.cells[1] for part in found.parts}
    assert (by_name["demo-s00"].text, by_name["demo-s00"].note) == ("–", "100 % worse")
    assert (by_name["demo-s01"].text, by_name["demo-s01"].note) == ("–", "")
