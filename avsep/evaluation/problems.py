"""Why a metric has no value: the list of reasons, and how a row of results stores them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum


class Problem(StrEnum):
    """Why a metric is NaN. Such values are counted, but not averaged."""

    SILENT_TARGET = "silent_target"
    SILENT_ESTIMATE = "silent_estimate"
    NON_FINITE_ESTIMATE = "non_finite_estimate"
    NO_UTTERANCES = "no_utterances"  # PESQ found no speech
    TOO_SHORT = "too_short"
    SINGULAR = "singular"  # BSS-eval's system of equations has no unique solution
    INFINITE = "infinite"  # the estimate equals the target, or contains none of it
    NOT_A_NUMBER = "not_a_number"
    PACKAGE_MISSING = "package_missing"
    TIMED_OUT = "timed_out"
    CRASHED = "crashed"


def pack(problems: Mapping[str, Problem]) -> str:
    """Problems by metric as one string for a table: `pesq=no_utterances;sdr=singular`."""
    return ";".join(f"{metric}={problems[metric]}" for metric in sorted(problems))


def unpack(text: str) -> dict[str, Problem]:
    """The inverse of `pack`."""
    pairs = (part.split("=", 1) for part in text.split(";") if part)
    return {metric: Problem(problem) for metric, problem in pairs}


def count(texts: Iterable[str], metric: str) -> dict[str, int]:
    """How many rows lack `metric`, by problem, sorted by the problem's name."""
    found: dict[str, int] = {}
    for text in texts:
        if problem := unpack(text).get(metric):
            found[str(problem)] = found.get(str(problem), 0) + 1
    return dict(sorted(found.items()))
