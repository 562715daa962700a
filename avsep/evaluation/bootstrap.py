"""Means with bootstrap confidence intervals, clustered by utterance.

A list of 3,000 mixtures may hold only some 270 utterances, so its rows are not independent: a
hard utterance is hard in each of its mixtures. Therefore whole clusters are drawn with
replacement, a cluster being all rows of one *target* utterance (the unit whose difficulty moves a
score most: its video is the cue, its voice the reference).

The interfering utterance recurs as well. Drawing targets and interferers independently (the
two-way or "pigeonhole" bootstrap, Owen 2007) covers that too, but counts the row's own noise up to
three times and so gives far too wide intervals for the few dozen utterances of a small list. We
draw one way and say so; neither speaks about speakers that are not in the list.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

CONFIDENCE = 0.95
_CHUNK = 256  # bootstrap draws held in memory at a time


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A mean with its interval.

    Attributes:
        mean: over the rows that have a value; NaN if there are none.
        low: lower end of the 95 % interval; NaN with fewer than two clusters.
        high: upper end.
        rows: how many rows entered.
        clusters: how many utterances they came from.
        excluded: how many rows had no value.
    """

    mean: float
    low: float
    high: float
    rows: int
    clusters: int
    excluded: int = 0

    @property
    def known(self) -> bool:
        """Whether there is a mean at all."""
        return self.rows > 0

    @property
    def has_interval(self) -> bool:
        """Whether there were enough clusters for an interval."""
        return bool(np.isfinite(self.low))


def clustered_mean(
    values: Sequence[float] | np.ndarray,
    clusters: Sequence[str],
    *,
    generator: np.random.Generator,
    samples: int = 2000,
    confidence: float = CONFIDENCE,
) -> Estimate:
    """The mean of the finite values, with its percentile interval over clusters.

    Args:
        values: one a row; those that are not finite are left out and counted.
        clusters: the cluster of each row.
        generator: source of the draws; the same state gives the same interval.
        samples: number of bootstrap draws.
        confidence: e.g. 0.95.

    Raises:
        ValueError: lengths differ, or no draws are asked for.
    """
    array = np.asarray(values, dtype=np.float64)
    if len(array) != len(clusters):
        raise ValueError(f"{len(array)} values but {len(clusters)} cluster names.")
    if samples < 1 or not 0 < confidence < 1:
        raise ValueError(f"samples {samples} must be positive, confidence {confidence} in (0, 1).")
    finite = np.isfinite(array)
    excluded = int((~finite).sum())
    if not finite.any():
        nan = float("nan")
        return Estimate(mean=nan, low=nan, high=nan, rows=0, clusters=0, excluded=excluded)
    names = np.asarray(clusters, dtype=object)[finite].astype(str)
    labels, index = np.unique(names, return_inverse=True)
    sums = np.bincount(index, weights=array[finite], minlength=len(labels))
    sizes = np.bincount(index, minlength=len(labels)).astype(np.float64)
    low = high = float("nan")
    if len(labels) > 1:
        means = _draw_means(sums, sizes, generator, samples)
        tail = (1 - confidence) / 2
        low, high = (float(q) for q in np.quantile(means, (tail, 1 - tail)))
    return Estimate(
        mean=float(sums.sum() / sizes.sum()),
        low=low,
        high=high,
        rows=int(finite.sum()),
        clusters=len(labels),
        excluded=excluded,
    )


def _draw_means(
    sums: np.ndarray, sizes: np.ndarray, generator: np.random.Generator, samples: int
) -> np.ndarray:
    """Means of `samples` draws of whole clusters, (samples,) float64."""
    count = len(sums)
    shares = np.full(count, 1 / count)
    means = np.empty(samples)
    for start in range(0, samples, _CHUNK):
        stop = min(start + _CHUNK, samples)
        # How often each cluster was drawn: (stop - start, count).
        times = generator.multinomial(count, shares, size=stop - start)
        means[start:stop] = (times @ sums) / (times @ sizes)
    return means
