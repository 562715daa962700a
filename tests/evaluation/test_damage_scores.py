"""Damages as conditions of an evaluation: their scores, their figures, their curves."""

import pytest

from avsep.evaluation.config import EvaluateConfig
from avsep.evaluation.scoring import score
from avsep.evaluation.separate import estimate_keys, separate
from avsep.evaluation.summary import headline, summarise
from avsep.reporting.charts import damage_curves
from avsep.reporting.gather import ModelResults
from tests.support.band_separator import load_band_separator

pytestmark = pytest.mark.slow

CONDITIONS = ("own", "late@1", "black@0.5", "black@1")


def test_damages_are_scored_by_kind_and_severity_and_drawn(items):
    config = EvaluateConfig(conditions=CONDITIONS, perceptual=(), workers=0)
    keys = estimate_keys(items, config.conditions)
    estimates = dict(separate(load_band_separator(), items, keys, batch=4))
    rows = score(items, estimates, config)
    assert {row.condition for row in rows} == set(CONDITIONS)
    figures = summarise(rows, heard_groups=(), seed=0, samples=50)
    assert set(figures["overall"]) == {"own"}
    assert set(figures["damage"]) == {"late", "black"}
    own = figures["overall"]["own"]["si_snri"]["mean"]
    # This model looks at the brightness of the lips: black ones are those of the low voice.
    assert figures["damage"]["late"]["1"]["mean"] == pytest.approx(own, abs=0.5)
    assert figures["damage"]["black"]["1"]["mean"] < own - 5
    assert "si_snri" in headline(figures)
    assert set(figures["damage"]["black"]) == {"0.5", "1"}
    model = ModelResults(name="vovit", metrics=figures, rows=tuple(rows))
    chart = damage_curves([model])
    assert chart is not None
    assert chart.startswith("data:image/svg+xml")
    assert damage_curves([]) is None


@pytest.mark.parametrize(
    "conditions",
    [
        ("own", "blurred"), ("covered@2",), ("own", "own"), ("covered@0",), ("",),
        ("covered", "covered@1.0"),
    ],
)  # fmt: skip
def test_conditions_that_do_not_exist_are_refused(conditions):
    with pytest.raises(ValueError, match="conditions"):
        EvaluateConfig(conditions=conditions)
