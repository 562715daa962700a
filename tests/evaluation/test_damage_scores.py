"""Damages as conditions of an evaluation: their scores, their figures, their curves."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from avsep.evaluation.conditions import condition_sound
from avsep.evaluation.config import EvaluateConfig
from avsep.evaluation.metrics import si_snr
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


def test_under_a_damaged_sound_all_scores_are_those_of_the_damaged_mixture(items):
    conditions = ("own", "reverberant@0.7", "babble@0.5", "weaker@1")
    config = EvaluateConfig(
        conditions=conditions, perceptual=(), perceptual_conditions=("babble@0.5",), workers=0
    )
    items = [replace(item, babble=np.random.default_rng(0).normal(size=16_000)) for item in items]
    keys = estimate_keys(items, conditions)
    estimates = dict(separate(load_band_separator(), items, keys, batch=4))
    done, kept = [], {}
    rows = score(items, estimates, config, done.append, unprocessed=kept)
    assert sum(done) == len(items)
    assert len(kept) == 2 * len(items)  # mixtures of the list alone
    for key, row in zip(keys, rows, strict=True):
        mixture, sources = condition_sound(items[key.item], key.target, key.condition)
        pair = torch.from_numpy(mixture), torch.from_numpy(sources[key.target])
        assert row.si_snr_mixture == pytest.approx(float(si_snr(*pair)), abs=1e-6)
        estimate = torch.from_numpy(estimates[key])
        assert row.si_snr == pytest.approx(float(si_snr(estimate, pair[1])), abs=1e-6)
        assert row.si_snri == pytest.approx(row.si_snr - row.si_snr_mixture)
        assert not row.problems
        assert np.isfinite(row.sdri) == (key.condition in ("own", "babble@0.5"))
    weaker = [row.si_snr_mixture for row in rows if row.condition == "weaker@1"]
    listed = [row.si_snr_mixture for row in rows if row.condition == "own"]
    assert np.subtract(weaker, listed) == pytest.approx(-15, abs=0.5)
    figures = summarise(rows, heard_groups=(), seed=0, samples=50)
    assert set(figures["damage"]) == {"reverberant", "babble", "weaker"}
    # The bands of this model still tell the voices apart, but not a voice from its reverberation.
    own = figures["overall"]["own"]["si_snri"]["mean"]
    assert figures["damage"]["weaker"]["1"]["mean"] == pytest.approx(own, abs=0.5)
    assert figures["damage"]["reverberant"]["0.7"]["mean"] < own - 3


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
