"""From estimates to rows of results; the metrics are computed in a pool of processes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from avsep.errors import ItemError, Reason
from avsep.evaluation import metrics, perceptual
from avsep.evaluation.conditions import Condition
from avsep.evaluation.items import EvaluationItem
from avsep.evaluation.problems import Problem, pack
from avsep.evaluation.results import IMPROVEMENTS, NAN, ResultRow, describe
from avsep.evaluation.separate import Job
from avsep.processes import map_items

Scores = dict[str, float]
Problems = dict[str, Problem]
Result = tuple[Scores, Problems]
Untouched = MutableMapping[tuple[str, int], Result]
"""The scores of mixtures against their voices, by mixture id and target."""
MIXTURE = "mixture"  # stands where the name of a condition stands, for the untouched mixture


@dataclass(frozen=True, kw_only=True)
class Scoring:
    """Which metrics are computed, and how.

    Attributes:
        sdr: whether BSS-eval SDR is computed, and SIR where the perceptual metrics are.
        perceptual: which of PESQ, STOI, ESTOI are computed.
        perceptual_conditions: for which conditions; the mixture itself is always scored too.
        workers: processes; 0 for none.
        timeout_s: limit for all metrics of one estimate.
    """

    sdr: bool = True
    perceptual: tuple[str, ...] = perceptual.METRICS
    perceptual_conditions: tuple[Condition, ...] = (Condition.OWN,)
    workers: int = 0
    timeout_s: float = 60.0

    def metrics_for(self, condition: str) -> tuple[str, ...]:
        """The metrics of an estimate under `condition`, or of the mixture."""
        slow = condition == MIXTURE or condition in self.perceptual_conditions
        bss_eval = ("sdr", "sir") if slow else ("sdr",)
        return ("si_snr", *(bss_eval if self.sdr else ()), *(self.perceptual if slow else ()))


@dataclass(frozen=True, kw_only=True, eq=False)
class Pair:
    """One estimate with its target, to be scored in another process.

    Attributes:
        name: mixture, target and condition.
        estimate: (N,) float32 at 16 kHz.
        target: (N,) float32 at 16 kHz.
        others: (K, N) float32, the other voices.
        metrics: those wanted.
    """

    name: tuple[str, ...]
    estimate: np.ndarray
    target: np.ndarray
    others: np.ndarray
    metrics: tuple[str, ...]


def score_pair(pair: Pair) -> Result:
    """All metrics of one estimate: finite or NaN, and the problem of each NaN."""
    estimate, target = torch.from_numpy(pair.estimate), torch.from_numpy(pair.target)
    fast = [name for name in pair.metrics if name in metrics.METRICS]
    slow = [name for name in pair.metrics if name in perceptual.METRICS]
    others = torch.from_numpy(pair.others)
    values, problems = metrics.signal_scores(estimate, target, fast, others=others)
    more_values, more_problems = perceptual.perceptual_scores(estimate, target, slow)
    return values | more_values, problems | more_problems


def score(
    items: Sequence[EvaluationItem],
    estimates: Mapping[Job, np.ndarray],
    scoring: Scoring,
    progress: Callable[[int], None] | None = None,
    *,
    untouched: Untouched | None = None,
) -> list[ResultRow]:
    """Rows of all estimates, in the order of their jobs.

    Args:
        items: the mixtures.
        estimates: (N,) float32 by job.
        scoring: which metrics.
        progress: called with 1 whenever all metrics of a mixture are there.
        untouched: scores of mixtures that are known already; those found here are added.
    """
    if untouched is None:
        untouched = {}
    mixtures = {
        _name(job, MIXTURE): (items[job.item].recipe.mixture_id, job.target) for job in estimates
    }
    wanted = set(scoring.metrics_for(MIXTURE))
    found = {
        name: untouched[key]
        for name, key in mixtures.items()
        if key in untouched and wanted <= untouched[key][0].keys()
    }
    pairs = [pair for pair in _pairs(items, estimates, scoring) if pair.name not in found]
    waiting = Counter(pair.name[0] for pair in pairs)
    for pair, result in map_items(
        score_pair, pairs, workers=scoring.workers, timeout_s=scoring.timeout_s
    ):
        found[pair.name] = _or_problem(result, pair)
        waiting[pair.name[0]] -= 1
        if not waiting[pair.name[0]] and progress:
            progress(1)
    untouched.update({key: found[name] for name, key in mixtures.items()})
    return [_row(items[job.item], job, found) for job in estimates]


def _pairs(
    items: Sequence[EvaluationItem], estimates: Mapping[Job, np.ndarray], scoring: Scoring
) -> list[Pair]:
    """What is scored against what: each estimate, and each mixture once for each target."""
    pairs: dict[tuple[str, ...], Pair] = {}
    for job, estimate in estimates.items():
        item = items[job.item]
        for condition, signal in ((MIXTURE, item.mixture), (str(job.condition), estimate)):
            name = _name(job, condition)
            pairs.setdefault(
                name,
                Pair(
                    name=name,
                    estimate=signal,
                    target=item.sources[job.target],
                    others=np.delete(item.sources, job.target, axis=0),
                    metrics=scoring.metrics_for(condition),
                ),
            )
    return list(pairs.values())


def _name(job: Job, condition: str) -> tuple[str, ...]:
    return (str(job.item), str(job.target), condition)


def _or_problem(result: Result | ItemError, pair: Pair) -> Result:
    if not isinstance(result, ItemError):
        return result
    timed_out = result.reason is Reason.TIMED_OUT
    problem = Problem.TIMED_OUT if timed_out else Problem.CRASHED
    return dict.fromkeys(pair.metrics, NAN), dict.fromkeys(pair.metrics, problem)


def _row(item: EvaluationItem, job: Job, found: Mapping[tuple[str, ...], Result]) -> ResultRow:
    values, problems = found[_name(job, job.condition)]
    base_values, base_problems = found[_name(job, MIXTURE)]
    fields: dict[str, float] = dict(values)
    for metric in values:
        fields[f"{metric}_mixture"] = base_values[metric]
    for metric, improvement in IMPROVEMENTS.items():
        if metric in values:
            fields[improvement] = values[metric] - base_values[metric]
    named = dict(problems)
    for metric, problem in base_problems.items():
        if metric in values:
            named[f"{metric}_mixture"] = problem
    for metric, improvement in IMPROVEMENTS.items():
        reason = problems.get(metric) or base_problems.get(metric)
        if metric in values and reason:
            named[improvement] = reason
    return ResultRow(
        **describe(item.recipe, job.target),  # type: ignore[arg-type]
        condition=str(job.condition),
        problems=pack(named),
        **fields,  # type: ignore[arg-type]
    )
