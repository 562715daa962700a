"""Results of one model as nested numbers: what `metrics.json` holds and DVC compares."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Collection, Sequence
from typing import Any

import numpy as np

from avsep.evaluation.bootstrap import Estimate, clustered_mean
from avsep.evaluation.compare import paired_difference
from avsep.evaluation.conditions import Condition
from avsep.evaluation.problems import count
from avsep.evaluation.results import ResultRow

METRICS = (
    *("si_snri", "sdri", "pesq", "stoi", "estoi", "si_snr", "sdr", "sir"),
    *(
        "si_snr_mixture",
        "sdr_mixture",
        "sir_mixture",
        "pesq_mixture",
        "stoi_mixture",
        "estoi_mixture",
    ),
)
GROUP_METRICS = ("si_snri", "sdri", "pesq", "stoi")

Draws = Callable[[str], np.random.Generator]


def draws(seed: int) -> Draws:
    """A function that gives each named figure its own generator.

    So one figure's interval does not depend on which others were computed before it.
    """
    return lambda name: np.random.default_rng([seed, zlib.crc32(name.encode("utf-8"))])


def summarise(
    rows: Sequence[ResultRow],
    *,
    heard_groups: Collection[str],
    seed: int,
    samples: int,
) -> dict[str, Any]:
    """Means with intervals: overall by condition, by pair of genders, by base voice.

    Args:
        rows: of one model.
        heard_groups: groups (base voices, programmes) that the model met in training or
            validation; target voices of other groups are reported apart.
        seed: of the bootstrap.
        samples: number of bootstrap draws.

    Returns:
        `overall.<condition>.<metric>`, `video.<own_minus_...>`, `by_pair.<pair>.<metric>`,
        `by_group.<heard|unheard>.<group>.<metric>`, `problems.<condition>.<metric>`,
        `mixtures`, `rows`. A figure is `{mean, low, high, rows, utterances, excluded}`; `low` and
        `high` are left out where one utterance gives no interval.
    """
    generator_for = draws(seed)
    conditions = [c for c in Condition if any(row.condition == c for row in rows)]
    own = [row for row in rows if row.condition == Condition.OWN]

    def figures(some: Sequence[ResultRow], metrics: Sequence[str], where: str) -> dict[str, Any]:
        found = {
            metric: _mean(some, metric, generator_for(f"{where}.{metric}"), samples)
            for metric in metrics
        }
        return {metric: flat(estimate) for metric, estimate in found.items() if estimate.known}

    groups: dict[str, dict[str, Any]] = {"heard": {}, "unheard": {}}
    for group in sorted({row.group for row in own}):
        side = "heard" if group in heard_groups else "unheard"
        some = [row for row in own if row.group == group]
        groups[side][group] = figures(some, GROUP_METRICS, f"group.{group}")
    for side in ("heard", "unheard"):
        some = [row for row in own if (row.group in heard_groups) == (side == "heard")]
        if some and groups["heard"] and groups["unheard"]:
            groups[f"all_{side}"] = figures(some, GROUP_METRICS, f"groups.{side}")
    return {
        "mixtures": len({row.mixture_id for row in rows}),
        "rows": len(rows),
        "speakers": len({row.speaker for row in rows}),
        "overall": {
            str(c): figures([r for r in rows if r.condition == c], METRICS, f"overall.{c}")
            for c in conditions
        },
        "video": _video(rows, conditions, generator_for, samples),
        "by_pair": {
            pair: figures([r for r in own if r.pair == pair], GROUP_METRICS, f"pair.{pair}")
            for pair in sorted({row.pair for row in own if row.pair})
        },
        "by_group": groups,
        "problems": _problems(rows, conditions),
    }


def flat(estimate: Estimate) -> dict[str, float | int]:
    """A figure as numbers for JSON, which knows no NaN."""
    values: dict[str, float | int] = {"mean": estimate.mean}
    if estimate.has_interval:
        values |= {"low": estimate.low, "high": estimate.high}
    return values | {
        "rows": estimate.rows,
        "utterances": estimate.clusters,
        "excluded": estimate.excluded,
    }


def _mean(
    rows: Sequence[ResultRow], metric: str, generator: np.random.Generator, samples: int
) -> Estimate:
    values = [getattr(row, metric) for row in rows]
    return clustered_mean(values, [row.key for row in rows], generator=generator, samples=samples)


def _video(
    rows: Sequence[ResultRow], conditions: Sequence[Condition], draws_for: Draws, samples: int
) -> dict[str, Any]:
    """How much the right video gives: paired differences of SI-SNRi in dB."""
    found: dict[str, Any] = {}
    for condition in conditions:
        if condition is Condition.OWN or Condition.OWN not in conditions:
            continue
        name = f"own_minus_{condition}"
        comparison = paired_difference(
            rows,
            rows,
            "si_snri",
            generator=draws_for(f"video.{name}"),
            samples=samples,
            second_condition=condition,
        )
        if comparison.difference.known:
            found[name] = {
                "si_snri": flat(comparison.difference),
                "better_share": comparison.better_share,
            }
    return found


def _problems(rows: Sequence[ResultRow], conditions: Sequence[Condition]) -> dict[str, Any]:
    """How many rows lack a metric that was asked for, by condition, metric and problem."""
    found: dict[str, Any] = {}
    for condition in conditions:
        texts = [row.problems for row in rows if row.condition == condition and row.problems]
        counts = {metric: count(texts, metric) for metric in METRICS}
        if counts := {metric: by for metric, by in counts.items() if by}:
            found[str(condition)] = counts
    return found
