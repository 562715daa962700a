"""Means with bootstrap confidence intervals, clustered by utterance.

A list of 3,000 mixtures may hold only some 270 utterances, so its rows are not independent: a
hard utterance is hard in each of its mixtures. We therefore resample whole clusters. A cluster is
all rows of one *target* utterance, whose difficulty affects a score most: its video is the cue and
its voice the reference.

The interfering utterance recurs as well. Resampling targets and interferers independently (the
two-way or "pigeonhole" bootstrap, Owen 2007) would cover that too, but it counts the noise of a
row up to three times, so its intervals are far too wide for the few dozen utterances of a small
list. Neither method says anything about speakers that are not in the list.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

CONFIDENCE = 0.95
_CHUNK = 256  # resamples held in memory at a time


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A mean with its confidence interval.

    Attributes:
        mean: mean over the rows that have a value; NaN if there are none.
        low: lower end of the 95 % interval; NaN with fewer than two clusters.
        high: upper end of the interval; NaN with fewer than two clusters.
        rows: number of rows that have a value.
        clusters: number of utterances that these rows come from.
        excluded: number of rows without a value.
    """

    mean: float
    low: float
    high: float
    rows: int
    clusters: int
    excluded: int = 0

    @property
    def known(self) -> bool:
        """Whether there is a mean."""
        return self.rows > 0

    @property
    def has_interval(self) -> bool:
        """Whether there were enough clusters for an interval."""
        return bool(np.isfinite(self.low))


def bootstrap_generator(seed: int, name: str) -> np.random.Generator:
    """The random generator of one named figure.

    Each figure has its own, so its interval does not depend on which figures were computed before.
    """
    return np.random.default_rng([seed, zlib.crc32(name.encode("utf-8"))])


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
        values: one value per row; values that are not finite are counted and left out.
        clusters: the cluster of each row.
        generator: random generator; the same state gives the same interval.
        samples: number of resamples.
        confidence: coverage of the interval, e.g. 0.95.

    Raises:
        ValueError: the lengths differ, or `samples` or `confidence` is out of range.
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
        means = _resampled_means(sums, sizes, generator, samples)
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


def _resampled_means(
    sums: np.ndarray, sizes: np.ndarray, generator: np.random.Generator, samples: int
) -> np.ndarray:
    """Means of `samples` resamples of whole clusters, (samples,) float64."""
    count = len(sums)
    shares = np.full(count, 1 / count)
    means = np.empty(samples)
    for start in range(0, samples, _CHUNK):
        stop = min(start + _CHUNK, samples)
        # How often each cluster was drawn: (stop - start, count).
        times = generator.multinomial(count, shares, size=stop - start)
        means[start:stop] = (times @ sums) / (times @ sizes)
    return means
