"""Summarise the results of one model: the nested numbers of `metrics_full.json`."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from avsep.damage import parse_damage
from avsep.evaluation.bootstrap import Estimate, bootstrap_generator, clustered_mean
from avsep.evaluation.both_faces import both_right, worse
from avsep.evaluation.compare import paired_difference
from avsep.evaluation.conditions import Condition
from avsep.evaluation.problems import count
from avsep.evaluation.results import ResultRow

METRICS = (
    *("si_snri", "sdri", "pesq", "stoi", "estoi", "si_snr", "sdr", "sir"),
    *("si_snr_mixture", "sdr_mixture", "sir_mixture"),
    *("pesq_mixture", "stoi_mixture", "estoi_mixture"),
)
GROUP_METRICS = ("si_snri", "sdri", "pesq", "stoi")


# The numbers of `metrics.json`, which `dvc metrics show` prints in one row per model: the name, the
# condition, and the metric.
HEADLINE = (
    ("si_snri", Condition.OWN, "si_snri"),
    ("sdri", Condition.OWN, "sdri"),
    ("pesq", Condition.OWN, "pesq"),
    ("stoi", Condition.OWN, "stoi"),
    ("si_snri_other_video", Condition.OTHER, "si_snri"),
    ("si_snri_no_video", Condition.NONE, "si_snri"),
)
# Further ones: whether each face of a mixture gets its own voice, see `both_faces`.
FACES = ("both_right", "overlap", "worse")


def headline(figures: Mapping[str, Any]) -> dict[str, float]:
    """The means of the headline numbers; one that was not measured is left out.

    Args:
        figures: what `summarise` returns.
    """
    overall = figures["overall"]
    found = {
        name: overall[condition][metric]
        for name, condition, metric in HEADLINE
        if metric in overall.get(condition, {})
    } | figures["faces"]
    return {name: round(figure["mean"], 4) for name, figure in found.items()}


def summarise(
    rows: Sequence[ResultRow],
    *,
    heard_groups: Collection[str],
    seed: int,
    samples: int,
) -> dict[str, Any]:
    """Means with intervals: overall by condition, by pair of genders, by base voice.

    Args:
        rows: the results of one model.
        heard_groups: groups (base voices, programmes) that occur in training or validation. Wanted
            voices of other groups are reported separately.
        seed: seed of the bootstrap.
        samples: number of bootstrap resamples.

    Returns:
        `overall.<condition>.<metric>`, `faces.<name of FACES>`, `damage.<kind>.<severity>`,
        `video.<own_minus_...>`, `by_pair.<pair>.<metric>`,
        `by_group.<heard|unheard>.<group>.<metric>`, `problems.<condition>.<metric>`, `mixtures`,
        `rows`, `speakers`. A figure is `{mean, low, high, rows, utterances, excluded}`, without
        `low` and `high` if there is only one utterance.
    """
    conditions = [c for c in Condition if any(row.condition == c for row in rows)]
    own = [row for row in rows if row.condition == Condition.OWN]

    def figures(some: Sequence[ResultRow], metrics: Sequence[str], where: str) -> dict[str, Any]:
        found = {
            metric: clustered_mean(
                [getattr(row, metric) for row in some],
                [row.key for row in some],
                generator=bootstrap_generator(seed, f"{where}.{metric}"),
                samples=samples,
            )
            for metric in metrics
        }
        return {
            metric: figure_values(estimate) for metric, estimate in found.items() if estimate.known
        }

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
        "faces": _faces(own, seed, samples),
        "damage": _damage(rows, seed, samples),
        "video": _video(rows, conditions, seed, samples),
        "by_pair": {
            pair: figures([r for r in own if r.pair == pair], GROUP_METRICS, f"pair.{pair}")
            for pair in sorted({row.pair for row in own if row.pair})
        },
        "by_group": groups,
        "problems": _problems(rows, conditions),
    }


def _damage(rows: Sequence[ResultRow], seed: int, samples: int) -> dict[str, Any]:
    """SI-SNRi by kind of damage and severity; the own video has severity 0."""
    by_condition: dict[str, list[ResultRow]] = defaultdict(list)
    for row in rows:
        by_condition[row.condition].append(row)
    found: dict[str, dict[str, Any]] = defaultdict(dict)
    for condition in sorted(by_condition.keys() - set(Condition)):
        kind, severity = parse_damage(condition)
        some = by_condition[condition]
        mean = clustered_mean(
            [row.si_snri for row in some],
            [row.key for row in some],
            generator=bootstrap_generator(seed, f"damage.{condition}"),
            samples=samples,
        )
        if mean.known:
            found[kind][f"{severity:g}"] = figure_values(mean)
    return dict(found)


def _faces(rows: Sequence[ResultRow], seed: int, samples: int) -> dict[str, Any]:
    """The share of voices whose mixture has all faces right, the overlap, and the share worse."""
    found = {}
    values = (both_right(rows), [row.overlap for row in rows], worse(rows))
    for name, of_rows in zip(FACES, values, strict=True):
        generator = bootstrap_generator(seed, f"faces.{name}")
        keys = [row.key for row in rows]
        mean = clustered_mean(of_rows, keys, generator=generator, samples=samples)
        if mean.known:
            found[name] = figure_values(mean)
    return found


def figure_values(estimate: Estimate) -> dict[str, float | int]:
    """An estimate as a JSON object; it has no NaN."""
    values: dict[str, float | int] = {"mean": estimate.mean}
    if estimate.has_interval:
        values |= {"low": estimate.low, "high": estimate.high}
    return values | {
        "rows": estimate.rows,
        "utterances": estimate.clusters,
        "excluded": estimate.excluded,
    }


def _video(
    rows: Sequence[ResultRow], conditions: Sequence[Condition], seed: int, samples: int
) -> dict[str, Any]:
    """What the right video is worth: paired differences of SI-SNRi between conditions, in dB."""
    found: dict[str, Any] = {}
    for condition in conditions:
        if condition is Condition.OWN or Condition.OWN not in conditions:
            continue
        name = f"own_minus_{condition}"
        comparison = paired_difference(
            rows,
            rows,
            "si_snri",
            generator=bootstrap_generator(seed, f"video.{name}"),
            samples=samples,
            second_condition=condition,
        )
        if comparison.difference.known:
            found[name] = {
                "si_snri": figure_values(comparison.difference),
                "better_share": comparison.better_share,
            }
    return found


def _problems(rows: Sequence[ResultRow], conditions: Sequence[Condition]) -> dict[str, Any]:
    """How many rows lack a requested metric, by condition, metric and problem."""
    found: dict[str, Any] = {}
    for condition in conditions:
        texts = [row.problems for row in rows if row.condition == condition and row.problems]
        counts = {metric: count(texts, metric) for metric in METRICS}
        if counts := {metric: by for metric, by in counts.items() if by}:
            found[str(condition)] = counts
    return found
