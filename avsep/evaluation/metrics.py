"""Signal metrics in dB: SI-SNR, SDR and SIR of estimates against their targets.

Everything is computed in float64. Torchmetrics' SI-SNR adds the dtype's epsilon to the powers, so
in float32 a quiet recording would get a lower score than a loud one.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

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
    """RMS level after removal of the mean, in dB relative to full scale; -inf for a constant.

    Args:
        signal: (..., L) float, full scale is 1.

    Returns:
        (...) float64.
    """
    return 10 * torch.log10(signal.double().var(dim=-1, correction=0))


def find_problem(estimate: Tensor, target: Tensor) -> Problem | None:
    """Why no metric can be computed for this pair, or None.

    A scale-invariant metric is undefined (0/0) for a silent estimate. Torchmetrics' epsilon would
    turn it into 0 dB, which is better than any mixture whose target is the weaker voice.

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


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """Solve linear systems on one thread.

    After `torch.set_num_threads(2)` or more, PyTorch 2.13 with MKL solves a batch of systems of 256
    and more equations wrongly, mostly but not always with an error.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def sdr(estimate: Tensor, target: Tensor, filter_length: int = FILTER_LENGTH) -> Tensor:
    """Signal-to-distortion ratio in the sense of BSS-eval (one source, 512 taps), in dB.

    Args:
        estimate: (..., L) float.
        target: (..., L) float.
        filter_length: taps of the filter that does not count as distortion.

    Returns:
        (...) float64; NaN if the equations are singular.
    """
    try:
        with _one_thread():
            return signal_distortion_ratio(
                estimate.double(), target.double(), filter_length=filter_length
            )
    except torch.linalg.LinAlgError:
        if estimate.dim() == 1:
            return torch.tensor(torch.nan, dtype=torch.float64)
    # One singular item makes the whole batch fail: compute each item on its own.
    rows = [
        sdr(e, t, filter_length)
        for e, t in zip(estimate.flatten(0, -2), target.flatten(0, -2), strict=True)
    ]
    return torch.stack(rows).reshape(estimate.shape[:-1])


def sir(
    estimate: Tensor, target: Tensor, others: Tensor, filter_length: int = FILTER_LENGTH
) -> Tensor:
    """Signal-to-interference ratio of BSS-eval: how much of the other voices remains, in dB.

    The estimate is projected onto the target and onto all voices, each filtered with 512 taps. The
    interference is the difference of the two projections (Vincent et al. 2006).

    Args:
        estimate: (L,) float.
        target: (L,) float.
        others: (K, L) float, the other voices of the mixture.
        filter_length: taps of the filters.

    Returns:
        () float64; NaN if the equations are singular.
    """
    from fast_bss_eval import bss_eval_sources

    # It wants one estimate per reference: repeat ours, and use only the target's result.
    voices = torch.cat([target[None], others]).double()
    estimates = estimate.double().expand_as(voices)
    try:
        with _one_thread():
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
    """SI-SNR, SDR and SIR of one estimate, and the problem of each NaN.

    Args:
        estimate: (L,) float.
        target: (L,) float.
        metrics: names of metrics from `METRICS`.
        others: (K, L) float, the other voices of the mixture; SIR needs them.

    Returns:
        Values by metric in dB, finite or NaN, and the problem of each NaN.

    Raises:
        ValueError: the shapes differ or are not (L,), or SIR lacks the other voices.
    """
    if estimate.shape != target.shape or estimate.dim() != 1:
        raise ValueError(
            f"the estimate has shape {tuple(estimate.shape)} and the target"
            f" {tuple(target.shape)}; both must be (L,)."
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
    """Replace values that are not finite by NaN, and name the problem of each."""
    problems: dict[str, Problem] = {}
    for metric, value in values.items():
        if value != value:
            # SDR and SIR are NaN only if their equations are singular.
            problems[metric] = (
                Problem.SINGULAR if metric in ("sdr", "sir") else Problem.NOT_A_NUMBER
            )
        elif value in (float("inf"), float("-inf")):
            problems[metric] = Problem.INFINITE
    clean = {metric: float("nan") if metric in problems else v for metric, v in values.items()}
    return clean, problems
