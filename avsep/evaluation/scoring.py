"""From estimates to rows of results; a pool of processes computes the metrics."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from avsep.errors import ItemError, Reason
from avsep.evaluation import metrics, perceptual
from avsep.evaluation.both_faces import margins_db, overlaps
from avsep.evaluation.conditions import changes_sound, condition_sound
from avsep.evaluation.config import MIXTURE, EvaluateConfig
from avsep.evaluation.items import EvaluationItem
from avsep.evaluation.problems import Problem, pack
from avsep.evaluation.results import IMPROVEMENTS, NAN, ResultRow, describe
from avsep.evaluation.separate import EstimateKey
from avsep.processes import default_workers, map_items
from avsep.progress import Progress, no_progress

Scores = dict[str, float]
Problems = dict[str, Problem]
Result = tuple[Scores, Problems]
Sounds = Mapping[EstimateKey, tuple[np.ndarray, np.ndarray]]
"""The mixture that an estimate was made from, and its references."""
UnprocessedScores = MutableMapping[tuple[str, int], Result]
"""The scores of unprocessed mixtures against their voices, by mixture id and target."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Pair:
    """An estimate and its target, to be scored in another process.

    Attributes:
        name: index of the mixture, index of the target, and condition; for an unprocessed mixture
            `MIXTURE`, and the condition if that damages the sound.
        estimate: the estimate or the unprocessed mixture, (N,) float32 at 16 kHz.
        target: the wanted voice, (N,) float32 at 16 kHz.
        others: the other voices of the mixture, (K, N) float32.
        metrics: names of the metrics to compute.
    """

    name: tuple[str, ...]
    estimate: np.ndarray
    target: np.ndarray
    others: np.ndarray
    metrics: tuple[str, ...]


def score_pair(pair: Pair) -> Result:
    """All metrics of one pair: each value finite or NaN, and the problem of each NaN."""
    estimate, target = torch.from_numpy(pair.estimate), torch.from_numpy(pair.target)
    fast = [name for name in pair.metrics if name in metrics.METRICS]
    slow = [name for name in pair.metrics if name in perceptual.METRICS]
    others = torch.from_numpy(pair.others)
    values, problems = metrics.signal_scores(estimate, target, fast, others=others)
    more_values, more_problems = perceptual.perceptual_scores(estimate, target, slow)
    return values | more_values, problems | more_problems


def score(
    items: Sequence[EvaluationItem],
    estimates: Mapping[EstimateKey, np.ndarray],
    config: EvaluateConfig,
    progress: Progress = no_progress,
    *,
    unprocessed: UnprocessedScores | None = None,
) -> list[ResultRow]:
    """One row per estimate, in the order of `estimates`.

    Args:
        items: the mixtures.
        estimates: the estimates by key, each (N,) float32.
        config: names the metrics, the number of processes and the time limit.
        progress: called with 1 when all metrics of a mixture are there.
        unprocessed: known scores of unprocessed mixtures; scores computed here are added.
    """
    if unprocessed is None:
        unprocessed = {}
    # The scores of a mixture whose sound is damaged are of use to this condition alone.
    mixtures = {
        _name(key, MIXTURE): (items[key.item].recipe.mixture_id, key.target)
        for key in estimates
        if not changes_sound(key.condition)
    }
    wanted = set(config.metrics_for(MIXTURE))
    found = {
        name: unprocessed[mixture]
        for name, mixture in mixtures.items()
        if mixture in unprocessed and wanted <= unprocessed[mixture][0].keys()
    }
    sounds = {key: condition_sound(items[key.item], key.target, key.condition) for key in estimates}
    pairs = [pair for pair in _pairs(sounds, estimates, config) if pair.name not in found]
    waiting = Counter(pair.name[0] for pair in pairs)
    workers = default_workers() if config.workers is None else config.workers
    for pair, result in map_items(score_pair, pairs, workers=workers, timeout_s=config.timeout_s):
        found[pair.name] = _or_problem(result, pair)
        waiting[pair.name[0]] -= 1
        if not waiting[pair.name[0]]:
            progress(1)
    unprocessed.update({mixture: found[name] for name, mixture in mixtures.items()})
    rows = [_row(items[key.item], key, found) for key in estimates]
    return _with_faces(rows, list(estimates), sounds, estimates)


def _with_faces(
    rows: Sequence[ResultRow],
    keys: Sequence[EstimateKey],
    sounds: Sounds,
    estimates: Mapping[EstimateKey, np.ndarray],
) -> list[ResultRow]:
    """The rows with what the estimates of all voices of a mixture say together."""
    together: dict[tuple[int, str], list[EstimateKey]] = defaultdict(list)
    for key in sorted(keys):
        together[key.item, key.condition].append(key)
    found: dict[EstimateKey, tuple[float, float]] = {}
    for asked in together.values():
        sources = sounds[asked[0]][1]
        if len(asked) == len(sources):
            signals = np.stack([estimates[key] for key in asked])
            pairs = zip(margins_db(signals, sources), overlaps(signals), strict=True)
            found.update(zip(asked, pairs, strict=True))
    return [
        replace(row, margin_db=found[key][0], overlap=found[key][1]) if key in found else row
        for row, key in zip(rows, keys, strict=True)
    ]


def _pairs(
    sounds: Sounds, estimates: Mapping[EstimateKey, np.ndarray], config: EvaluateConfig
) -> list[Pair]:
    """Each estimate with its target, and each mixture once per target and damage to its sound."""
    pairs: dict[tuple[str, ...], Pair] = {}
    for key, estimate in estimates.items():
        mixture, sources = sounds[key]
        named = (_mixture_name(key), mixture), (_name(key, key.condition), estimate)
        for name, signal in named:
            condition = MIXTURE if name[-1] == MIXTURE else key.condition
            pairs.setdefault(
                name,
                Pair(
                    name=name,
                    estimate=signal,
                    target=sources[key.target],
                    others=np.delete(sources, key.target, axis=0),
                    metrics=config.metrics_for(condition),
                ),
            )
    return list(pairs.values())


def _name(key: EstimateKey, condition: str) -> tuple[str, ...]:
    return (str(key.item), str(key.target), str(condition))


def _mixture_name(key: EstimateKey) -> tuple[str, ...]:
    """The name of the mixture that an estimate was made from."""
    return _name(key, f"{MIXTURE} {key.condition}" if changes_sound(key.condition) else MIXTURE)


def _or_problem(result: Result | ItemError, pair: Pair) -> Result:
    if not isinstance(result, ItemError):
        return result
    timed_out = result.reason is Reason.TIMED_OUT
    problem = Problem.TIMED_OUT if timed_out else Problem.CRASHED
    return dict.fromkeys(pair.metrics, NAN), dict.fromkeys(pair.metrics, problem)


def _row(
    item: EvaluationItem, key: EstimateKey, found: Mapping[tuple[str, ...], Result]
) -> ResultRow:
    values, problems = found[_name(key, key.condition)]
    mixture_values, mixture_problems = found[_mixture_name(key)]
    fields: dict[str, float] = dict(values)
    row_problems = dict(problems)
    for metric in values:
        fields[f"{metric}_mixture"] = mixture_values[metric]
        if metric in mixture_problems:
            row_problems[f"{metric}_mixture"] = mixture_problems[metric]
    for metric, improvement in IMPROVEMENTS.items():
        if metric in values:
            fields[improvement] = values[metric] - mixture_values[metric]
            if problem := problems.get(metric) or mixture_problems.get(metric):
                row_problems[improvement] = problem
    return ResultRow(
        **describe(item.recipe, key.target),  # type: ignore[arg-type]
        condition=str(key.condition),
        problems=pack(row_problems),
        **fields,  # type: ignore[arg-type]
    )
