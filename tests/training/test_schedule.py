import itertools
import math

import pytest

from avsep.training.config import FitSettings, RunSettings
from avsep.training.schedule import FLOOR, Plateau, lr_factor


def settings(**changes):
    return FitSettings(**{"steps": 100, "val_every": 10, **changes})


def test_warmup_rises_to_the_peak_and_cosine_falls_to_the_floor():
    fit = settings(schedule="cosine", warmup=10)
    factors = [lr_factor(fit, step) for step in range(101)]
    assert factors[0] == 0.1
    assert factors[9] == factors[10] == 1.0
    assert all(a > b for a, b in itertools.pairwise(factors[10:]))
    assert math.isclose(factors[100], FLOOR)
    assert math.isclose(factors[55], (1 + FLOOR) / 2)


def test_constant_stays():
    fit = settings(schedule="constant")
    assert {lr_factor(fit, step) for step in range(100)} == {1.0}


def test_plateau_halves_after_its_patience_and_survives_a_checkpoint():
    plateau = Plateau(patience=2)
    for score in (1.0, 2.0, 1.5, 1.9):
        plateau.update(score)
    assert plateau.factor == 1.0
    other = Plateau(patience=2)
    other.load(plateau.state())
    other.update(2.0)  # no better: the third in a row
    assert other.factor == 0.5
    other.update(2.1)
    assert other.state() == {"factor": 0.5, "best": 2.1, "stale": 0}


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"steps": 15}, "must be a multiple of val_every"),
        ({"lr": 0.0}, "lr is 0"),
        ({"ema": 1.0}, "ema is 1"),
        ({"clip": -1.0}, "clip is -1"),
        ({"seconds": 0.0}, "seconds is 0"),
        ({"batch": 0}, "batch is 0"),
    ],
)
def test_nonsense_is_refused_with_a_sentence(changes, word):
    with pytest.raises(ValueError, match=word):
        settings(**changes)


def test_run_settings_refuse_nonsense():
    with pytest.raises(ValueError, match="devices is 0"):
        RunSettings(devices=0)
