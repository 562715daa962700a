"""Clustered bootstrap: coverage, determinism, and why rows are clustered."""

from __future__ import annotations

import math

import numpy as np
import pytest

from avsep.evaluation.bootstrap import clustered_mean


def draw_rows(generator, clusters=30, rows=6, between=1.0, within=0.5):
    """Rows whose clusters have random effects; the true mean is 0."""
    effects = between * generator.standard_normal(clusters)
    values = (effects[:, None] + within * generator.standard_normal((clusters, rows))).ravel()
    return values, [f"u{i // rows}" for i in range(clusters * rows)]


def generator(seed=0):
    return np.random.default_rng(seed)


@pytest.mark.slow
def test_the_interval_covers_the_true_mean_as_often_as_it_claims():
    random = generator(1)
    clustered = naive = 0
    for _ in range(200):
        values, names = draw_rows(random)
        one = clustered_mean(values, names, generator=random, samples=300)
        clustered += one.low <= 0 <= one.high
        rows = [str(i) for i in range(len(values))]
        two = clustered_mean(values, rows, generator=random, samples=300)
        naive += two.low <= 0 <= two.high
    assert 0.88 <= clustered / 200 <= 0.99
    assert naive / 200 < 0.75  # treating rows as independent claims far too much


def test_clustering_widens_the_interval_of_dependent_rows():
    values, names = draw_rows(generator(2))
    wide = clustered_mean(values, names, generator=generator(), samples=1000)
    narrow = clustered_mean(
        values, [str(i) for i in range(len(values))], generator=generator(), samples=1000
    )
    assert wide.mean == pytest.approx(narrow.mean)
    assert wide.high - wide.low > 1.7 * (narrow.high - narrow.low)
    assert (wide.clusters, wide.rows) == (30, 180)


def test_independent_rows_get_the_textbook_interval():
    values = generator(3).standard_normal(400)
    names = [str(i) for i in range(400)]
    found = clustered_mean(values, names, generator=generator(), samples=4000)
    half = 1.96 * values.std() / math.sqrt(400)
    assert found.high - found.mean == pytest.approx(half, rel=0.1)
    assert found.mean - found.low == pytest.approx(half, rel=0.1)


def test_the_same_seed_gives_the_same_interval_and_order_of_rows_does_not_matter():
    values, names = draw_rows(generator(4))
    first = clustered_mean(values, names, generator=generator(7), samples=500)
    again = clustered_mean(values, names, generator=generator(7), samples=500)
    other = clustered_mean(values, names, generator=generator(8), samples=500)
    order = generator(5).permutation(len(values))
    shuffled = clustered_mean(
        values[order], [names[i] for i in order], generator=generator(7), samples=500
    )
    assert first == again
    assert first.low != other.low
    assert shuffled.low == pytest.approx(first.low)
    assert shuffled.high == pytest.approx(first.high)


def test_rows_without_a_value_are_left_out_and_counted():
    values = [1.0, math.nan, 3.0, math.inf, -math.inf]
    found = clustered_mean(values, list("abcde"), generator=generator(), samples=100)
    assert found.mean == 2.0
    assert (found.rows, found.excluded, found.clusters) == (2, 3, 2)
    nothing = clustered_mean([math.nan], ["a"], generator=generator(), samples=100)
    assert not nothing.known
    assert nothing.excluded == 1


def test_one_utterance_has_a_mean_but_no_interval():
    found = clustered_mean([1.0, 2.0], ["a", "a"], generator=generator(), samples=100)
    assert found.mean == 1.5
    assert not found.has_interval


def test_unequal_lengths_are_refused():
    with pytest.raises(ValueError, match="2 values but 1 cluster"):
        clustered_mean([1.0, 2.0], ["a"], generator=generator())
