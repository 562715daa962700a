"""Losses and scores on waveforms, in dB. Signals are (..., samples) float; results are (...)."""

from __future__ import annotations

from torch import Tensor

EPS = 1e-8


def _centred(signal: Tensor) -> Tensor:
    # float32: squares of quiet bf16 samples lose most of their digits.
    signal = signal.float()
    return signal - signal.mean(dim=-1, keepdim=True)


def _ratio_db(wanted: Tensor, unwanted: Tensor) -> Tensor:
    power = wanted.square().sum(dim=-1) + EPS
    error = unwanted.square().sum(dim=-1) + EPS
    return 10.0 * (power / error).log10()


def snr(estimate: Tensor, target: Tensor) -> Tensor:
    """Return the ratio of target to error, in dB; an estimate at the wrong level is an error.

    Both signals are made zero-mean. A silent target gives about -10 log10 of the estimate's
    energy: finite, and pushing the estimate to silence.

    Args:
        estimate: (..., samples).
        target: (..., samples).
    """
    target = _centred(target)
    return _ratio_db(target, _centred(estimate) - target)


def si_sdr(estimate: Tensor, target: Tensor) -> Tensor:
    """Return the scale-invariant ratio of target to distortion, in dB (Le Roux et al. 2019).

    Both signals are made zero-mean, as the field's SI-SNR does.

    Args:
        estimate: (..., samples).
        target: (..., samples).
    """
    estimate, target = _centred(estimate), _centred(target)
    scale = ((estimate * target).sum(-1, keepdim=True) + EPS) / (
        target.square().sum(-1, keepdim=True) + EPS
    )
    projection = scale * target
    return _ratio_db(projection, estimate - projection)


def negative_snr(estimate: Tensor, target: Tensor) -> Tensor:
    """Return the mean negative SNR over a batch, in dB: the training loss that keeps the level."""
    return -snr(estimate, target).mean()


def negative_si_sdr(estimate: Tensor, target: Tensor) -> Tensor:
    """Return the mean negative SI-SDR over a batch, in dB: a loss that leaves the level open."""
    return -si_sdr(estimate, target).mean()
