"""Signal metrics in dB: SI-SNR, SDR and SIR of estimates against their targets.

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

from avsep.evaluation.problems import Problem

METRICS = ("si_snr", "sdr", "sir")
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


def sir(
    estimate: Tensor, target: Tensor, others: Tensor, filter_length: int = FILTER_LENGTH
) -> Tensor:
    """Signal-to-interference ratio of BSS-eval: how much of the other voices is left, in dB.

    The estimate is projected onto the target, and onto all voices, each filtered by 512 taps; the
    interference is the difference (Vincent et al. 2006).

    Args:
        estimate: (L,) float.
        target: (L,) float.
        others: (K, L) float, the other voices of the mixture.
        filter_length: taps of the filters.

    Returns:
        () float64; NaN where the equations are singular.
    """
    from fast_bss_eval import bss_eval_sources

    # As many estimates as references: the same one again. Only its row for the target is looked at.
    voices = torch.cat([target[None], others]).double()
    estimates = estimate.double().expand_as(voices)
    try:
        _, ratios, _ = bss_eval_sources(
            voices, estimates, filter_length=filter_length, compute_permutation=False
        )
    except torch.linalg.LinAlgError:
        return torch.tensor(torch.nan, dtype=torch.float64)
    return ratios[0]


def signal_scores(
    estimate: Tensor,
    target: Tensor,
    metrics: Sequence[str] = ("si_snr", "sdr"),
    *,
    others: Tensor | None = None,
) -> tuple[dict[str, float], dict[str, Problem]]:
    """SI-SNR, SDR and SIR of one estimate, and why a value is NaN.

    Args:
        estimate: (L,) float.
        target: (L,) float.
        metrics: some of `METRICS`.
        others: (K, L) float, the other voices of the mixture; needed for SIR.

    Returns:
        Values by metric in dB, finite or NaN, and the problem of each NaN.

    Raises:
        ValueError: the shapes differ or are not one-dimensional, or SIR lacks the other voices.
    """
    if estimate.shape != target.shape or estimate.dim() != 1:
        raise ValueError(
            f"estimate {tuple(estimate.shape)} and target {tuple(target.shape)} must be of one"
            " shape (L,)."
        )
    if problem := find_problem(estimate, target):
        return dict.fromkeys(metrics, float("nan")), dict.fromkeys(metrics, problem)
    values: dict[str, float] = {}
    for name in metrics:
        if name == "sir":
            if others is None:
                raise ValueError("SIR needs the other voices of the mixture.")
            values[name] = float(sir(estimate, target, others))
        else:
            values[name] = float({"si_snr": si_snr, "sdr": sdr}[name](estimate, target))
    return finite_or_problem(values)


def finite_or_problem(
    values: dict[str, float],
) -> tuple[dict[str, float], dict[str, Problem]]:
    """Turn values that are not finite into NaN with a problem."""
    problems: dict[str, Problem] = {}
    for metric, value in values.items():
        if value != value:
            # The only NaN that the signal metrics make comes from singular equations.
            problems[metric] = (
                Problem.SINGULAR if metric in ("sdr", "sir") else Problem.NOT_A_NUMBER
            )
        elif value in (float("inf"), float("-inf")):
            problems[metric] = Problem.INFINITE
    clean = {metric: float("nan") if metric in problems else v for metric, v in values.items()}
    return clean, problems
