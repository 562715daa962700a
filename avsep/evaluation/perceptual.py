"""PESQ (wide band), STOI and ESTOI of one estimate.

They are slow: 50 to 100 ms each for a few seconds of sound. If the packages `pesq` and `pystoi`
are not installed, the values are NaN with the problem `package_missing`.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator, Sequence
from importlib.util import find_spec

import numpy as np
from torch import Tensor

from avsep.evaluation.metrics import find_problem, finite_or_problem
from avsep.evaluation.problems import Problem
from avsep.schema import RATE_HZ

METRICS = ("pesq", "stoi", "estoi")
PACKAGES = {"pesq": "pesq", "stoi": "pystoi", "estoi": "pystoi"}


def missing_packages() -> dict[str, str]:
    """The metrics that cannot be computed here, and the package that each needs."""
    return {m: package for m, package in PACKAGES.items() if find_spec(package) is None}


def perceptual_scores(
    estimate: Tensor, target: Tensor, metrics: Sequence[str] = METRICS
) -> tuple[dict[str, float], dict[str, Problem]]:
    """PESQ-WB (1.04 to 4.64), STOI and ESTOI (up to 1) of one estimate.

    Args:
        estimate: (L,) float32 at 16 kHz.
        target: (L,) float32 at 16 kHz.
        metrics: names of metrics from `METRICS`.

    Returns:
        Values by metric, finite or NaN, and the problem of each NaN.
    """
    if problem := find_problem(estimate, target):
        return dict.fromkeys(metrics, float("nan")), dict.fromkeys(metrics, problem)
    missing = missing_packages()
    values: dict[str, float] = {}
    problems: dict[str, Problem] = {}
    for metric in metrics:
        if metric in missing:
            result: float | Problem = Problem.PACKAGE_MISSING
        elif metric == "pesq":
            result = _pesq(estimate, target)
        else:
            result = _stoi(estimate, target, extended=metric == "estoi")
        if isinstance(result, Problem):
            problems[metric] = result
        else:
            values[metric] = result
    values, odd = finite_or_problem(values)
    return values | dict.fromkeys(problems, float("nan")), problems | odd


def _pesq(estimate: Tensor, target: Tensor) -> float | Problem:
    from pesq import BufferTooShortError, NoUtterancesError
    from torchmetrics.functional.audio.pesq import perceptual_evaluation_speech_quality

    try:
        return float(perceptual_evaluation_speech_quality(estimate, target, RATE_HZ, "wb"))
    except NoUtterancesError:
        return Problem.NO_UTTERANCES
    except BufferTooShortError:
        return Problem.TOO_SHORT
    except ValueError:  # "cannot convert float NaN to integer", raised by its level alignment
        return Problem.NOT_A_NUMBER


def _stoi(estimate: Tensor, target: Tensor, *, extended: bool) -> float | Problem:
    from torchmetrics.functional.audio.stoi import short_time_objective_intelligibility

    with warnings.catch_warnings(record=True) as caught, _seeded_numpy():
        warnings.simplefilter("always")
        value = float(
            short_time_objective_intelligibility(estimate, target, RATE_HZ, extended=extended)
        )
    # With less than 0.4 s of speech pystoi warns and returns 1e-5, which is not a score.
    if any("Not enough STFT frames" in str(warning.message) for warning in caught):
        return Problem.TOO_SHORT
    return value


@contextlib.contextmanager
def _seeded_numpy() -> Iterator[None]:
    """Give the same noise to each call: pystoi's ESTOI adds some from numpy's global generator."""
    before = np.random.get_state()  # the generator that pystoi uses
    np.random.seed(0)
    try:
        yield
    finally:
        np.random.set_state(before)
