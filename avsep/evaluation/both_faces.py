"""Whether a model gives each face its own voice when all faces of a mixture are asked in turn.

A model may score well on average and still give the loudest voice for every face. Three figures
show it: whether each estimate is nearer to its own reference than to the others, how much the
estimates of one mixture are alike, and how many of them are worse than the mixture.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from avsep.evaluation.problems import Problem, unpack
from avsep.evaluation.results import NAN, ResultRow

MARGIN_DB = 3.0  # by which an estimate is nearer to its own reference
_NO_ESTIMATE = {Problem.SILENT_ESTIMATE, Problem.NON_FINITE_ESTIMATE}


def margins_db(estimates: np.ndarray, sources: np.ndarray) -> list[float]:
    """SI-SNR against the own reference minus the highest against another one, in dB.

    Args:
        estimates: the estimate of each voice, (S, N) float.
        sources: the references in the same order, (S, N) float.

    Returns:
        One number per voice; NaN where it is undefined, as for a silent estimate.
    """
    import torch  # late, for `avsep results`, which only shows what was found

    from avsep.evaluation.metrics import si_snr

    count = len(sources)
    asked = torch.from_numpy(estimates)[:, None].expand(-1, count, -1)
    heard = torch.from_numpy(sources)[None].expand(len(estimates), -1, -1)
    scores = si_snr(asked, heard).numpy()
    silent = ~(_centred(estimates).any(axis=1) & np.isfinite(estimates).all(axis=1))
    found = []
    for voice in range(count):
        others = np.delete(scores[voice], voice)
        known = len(others) and not silent[voice]
        found.append(float(scores[voice, voice] - others.max()) if known else NAN)
    return found


def overlaps(estimates: np.ndarray) -> list[float]:
    """The largest correlation of each estimate with another one: 1 where they are one voice.

    Args:
        estimates: the estimate of each voice, (S, N) float.

    Returns:
        One number in 0..1 per voice; NaN for a silent estimate or a single voice.
    """
    centred = _centred(estimates)
    norms = np.linalg.norm(centred, axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        alike = np.abs(centred @ centred.T) / np.outer(norms, norms)
    np.fill_diagonal(alike, NAN)
    return [
        float(min(1.0, known.max())) if len(known := row[np.isfinite(row)]) else NAN
        for row in alike
    ]


def _centred(estimates: np.ndarray) -> np.ndarray:
    wide = np.asarray(estimates, np.float64)
    return wide - wide.mean(axis=1, keepdims=True)


def both_right(rows: Sequence[ResultRow]) -> list[float]:
    """For each row, whether all voices of its mixture have their margin: 1 or 0.

    A voice without an estimate is not right. NaN for a mixture of which only one voice was asked.

    Args:
        rows: rows of one condition.
    """
    margins: dict[str, list[float]] = defaultdict(list)
    for row in rows:
        margins[row.mixture_id].append(row.margin_db)
    right = {
        name: float(all(margin >= MARGIN_DB for margin in values)) if len(values) > 1 else NAN
        for name, values in margins.items()
    }
    return [right[row.mixture_id] for row in rows]


def worse(rows: Sequence[ResultRow]) -> list[float]:
    """For each row, whether the estimate is worse than the mixture: 1 or 0; NaN if not known.

    A silent estimate is worse.
    """
    found = []
    for row in rows:
        lacking = unpack(row.problems).get("si_snr")
        known = float(row.si_snri < 0) if np.isfinite(row.si_snri) else NAN
        found.append(1.0 if lacking in _NO_ESTIMATE else known)
    return found
