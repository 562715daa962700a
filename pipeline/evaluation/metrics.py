"""Signal metrics in dB: SI-SNR and SDR of estimates against their targets.

Everything is computed in float64: the epsilon inside torchmetrics' SI-SNR is that of the dtype and
absolute, so that in float32 a quiet recording would get a lower score than a loud one.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torchmetrics.functional.audio import (
    scale_invariant_signal_noise_ratio,
    signal_distortion_ratio,
)

from pipeline.evaluation.problems import Problem

METRICS = ("si_snr", "sdr")
SILENCE_DBFS = -90.0  # RMS below the quietest step of 16-bit sound
FILTER_LENGTH = 512  # taps of BSS-eval's allowed distortion filter (Vincent et al. 2006)


def level_dbfs(signal: Tensor) -> Tensor:
    """RMS level without the mean, in dB relative to full scale; -inf for a constant.

    Args:
        signal: (..., L) float, full scale is 1.

    Returns:
        (...) float64.
    """
    return 10 * torch.log10(signal.double().var(dim=-1, correction=0))


def find_problem(estimate: Tensor, target: Tensor) -> Problem | None:
    """Why no metric can be computed for this pair, or None.

    A silent estimate is undefined (0/0) for a scale-invariant metric; torchmetrics' epsilon would
    make it 0 dB, which beats every mixture whose target is the weaker voice.

    Args:
        estimate: (L,) float.
        target: (L,) float.
    """
    if not bool(torch.isfinite(estimate).all()):
        return Problem.NON_FINITE_ESTIMATE
    if float(level_dbfs(target)) < SILENCE_DBFS:
        return Problem.SILENT_TARGET
    if float(level_dbfs(estimate)) < SILENCE_DBFS:
        return Problem.SILENT_ESTIMATE
    return None


def si_snr(estimate: Tensor, target: Tensor) -> Tensor:
    """Scale-invariant signal-to-noise ratio after removal of the mean, in dB.

    Source: Luo and Mesgarani 2018, TasNet; the same as zero-mean SI-SDR (Le Roux et al. 2019).

    Args:
        estimate: (..., L) float.
        target: (..., L) float.

    Returns:
        (...) float64.
    """
    return scale_invariant_signal_noise_ratio(estimate.double(), target.double())


def sdr(estimate: Tensor, target: Tensor, filter_length: int = FILTER_LENGTH) -> Tensor:
    """Signal-to-distortion ratio in the sense of BSS-eval (one source, 512 taps), in dB.

    Args:
        estimate: (..., L) float.
        target: (..., L) float.
        filter_length: taps of the filter that counts as no distortion.

    Returns:
        (...) float64; NaN where the equations are singular.
    """
    try:
        return signal_distortion_ratio(
            estimate.double(), target.double(), filter_length=filter_length
        )
    except torch.linalg.LinAlgError:
        if estimate.dim() == 1:
            return torch.tensor(torch.nan, dtype=torch.float64)
    # One singular item spoils a batch: the others are computed again on their own.
    rows = [
        sdr(e, t, filter_length)
        for e, t in zip(estimate.flatten(0, -2), target.flatten(0, -2), strict=True)
    ]
    return torch.stack(rows).reshape(estimate.shape[:-1])


def signal_scores(
    estimate: Tensor, target: Tensor, metrics: Sequence[str] = METRICS
) -> tuple[dict[str, float], dict[str, Problem]]:
    """SI-SNR and SDR of one estimate, and why a value is NaN.

    Args:
        estimate: (L,) float.
        target: (L,) float.
        metrics: some of `METRICS`.

    Returns:
        Values by metric in dB, finite or NaN, and the problem of each NaN.

    Raises:
        ValueError: the shapes differ or are not one-dimensional.
    """
    if estimate.shape != target.shape or estimate.dim() != 1:
        raise ValueError(
            f"estimate {tuple(estimate.shape)} and target {tuple(target.shape)} must be of one"
            " shape (L,)."
        )
    if problem := find_problem(estimate, target):
        return dict.fromkeys(metrics, float("nan")), dict.fromkeys(metrics, problem)
    functions = {"si_snr": si_snr, "sdr": sdr}
    return finite_or_problem({name: float(functions[name](estimate, target)) for name in metrics})


def finite_or_problem(
    values: dict[str, float],
) -> tuple[dict[str, float], dict[str, Problem]]:
    """Turn values that are not finite into NaN with a problem."""
    problems: dict[str, Problem] = {}
    for metric, value in values.items():
        if value != value:
            # The only NaN that the signal metrics make comes from singular equations.
            problems[metric] = Problem.SINGULAR if metric == "sdr" else Problem.NOT_A_NUMBER
        elif value in (float("inf"), float("-inf")):
            problems[metric] = Problem.INFINITE
    clean = {metric: float("nan") if metric in problems else v for metric, v in values.items()}
    return clean, problems
