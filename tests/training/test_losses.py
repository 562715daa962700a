import numpy as np
import pytest
import torch
from torchmetrics.functional.audio import (
    scale_invariant_signal_distortion_ratio,
    signal_noise_ratio,
)

from avsep.training.losses import negative_si_sdr, negative_snr, si_sdr, snr

RNG = torch.Generator().manual_seed(5)
TARGET = torch.randn(3, 1600, generator=RNG)
ESTIMATE = 0.3 * TARGET + 0.2 * torch.randn(3, 1600, generator=RNG) + 0.1


def test_snr_and_si_sdr_agree_with_torchmetrics():
    ours, theirs = snr(ESTIMATE, TARGET), signal_noise_ratio(ESTIMATE, TARGET, zero_mean=True)
    torch.testing.assert_close(ours, theirs, atol=1e-3, rtol=0)
    theirs = scale_invariant_signal_distortion_ratio(ESTIMATE, TARGET, zero_mean=True)
    torch.testing.assert_close(si_sdr(ESTIMATE, TARGET), theirs, atol=1e-3, rtol=0)


def test_only_snr_minds_the_level():
    assert torch.allclose(si_sdr(3 * ESTIMATE, TARGET), si_sdr(ESTIMATE, TARGET), atol=1e-3)
    assert (snr(ESTIMATE, TARGET) - snr(3 * ESTIMATE, TARGET)).abs().min() > 0.5
    exact = snr(0.5 * TARGET, TARGET)
    assert torch.allclose(exact, torch.full((3,), 20 * np.log10(2)).float(), atol=1e-3)


@pytest.mark.parametrize("loss", [negative_snr, negative_si_sdr])
def test_silence_gives_finite_losses_and_gradients(loss):
    for estimate, target in (
        (torch.zeros(2, 800), torch.randn(2, 800, generator=RNG)),
        (torch.randn(2, 800, generator=RNG), torch.zeros(2, 800)),
        (torch.zeros(2, 800), torch.zeros(2, 800)),
    ):
        estimate = estimate.clone().requires_grad_()
        value = loss(estimate, target)
        value.backward()
        assert torch.isfinite(value)
        assert torch.isfinite(estimate.grad).all()


def test_a_constant_offset_counts_for_nothing():
    assert torch.allclose(snr(ESTIMATE + 7, TARGET), snr(ESTIMATE, TARGET), atol=1e-3)
    assert torch.allclose(si_sdr(ESTIMATE, TARGET - 7), si_sdr(ESTIMATE, TARGET), atol=1e-3)
