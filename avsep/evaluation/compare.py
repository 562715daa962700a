"""Compare two sets of results row by row, on the same mixtures.

Two means with overlapping intervals may still differ significantly: most of the spread is the
difficulty of the mixtures, which both sets share. The paired difference removes it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from avsep.evaluation.bootstrap import Estimate, clustered_mean
from avsep.evaluation.conditions import Condition
from avsep.evaluation.results import ResultRow


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """First minus second.

    Attributes:
        difference: mean over the rows of both sets, with its interval by target utterance.
        better_share: share of those rows where the first is greater.
        unmatched: number of rows that only one set has, or where one has no value.
    """

    difference: Estimate
    better_share: float
    unmatched: int


def paired_difference(
    first: Sequence[ResultRow],
    second: Sequence[ResultRow],
    metric: str,
    *,
    generator: np.random.Generator,
    samples: int = 2000,
    first_condition: Condition = Condition.OWN,
    second_condition: Condition = Condition.OWN,
) -> Comparison:
    """The mean difference of `metric`, first minus second, over the same (mixture, target).

    Args:
        first: rows of one model.
        second: rows of another model, or of the same model to compare two conditions.
        metric: a field of `ResultRow`, e.g. `si_snri`.
        generator: random generator of the bootstrap.
        samples: number of resamples.
        first_condition: condition of the rows taken from `first`.
        second_condition: condition of the rows taken from `second`.
    """
    left = _values(first, metric, first_condition)
    right = _values(second, metric, second_condition)
    common = sorted(left.keys() & right.keys())
    differences = np.array([left[name][0] - right[name][0] for name in common])
    estimate = clustered_mean(
        differences, [left[name][1] for name in common], generator=generator, samples=samples
    )
    finite = differences[np.isfinite(differences)]
    return Comparison(
        difference=estimate,
        better_share=float((finite > 0).mean()) if len(finite) else float("nan"),
        unmatched=len(left.keys() ^ right.keys()) + estimate.excluded,
    )


def _values(
    rows: Sequence[ResultRow], metric: str, condition: Condition
) -> dict[tuple[str, int], tuple[float, str]]:
    """Value and cluster by (mixture, target)."""
    return {
        (row.mixture_id, row.target): (getattr(row, metric), row.key)
        for row in rows
        if row.condition == condition
    }
