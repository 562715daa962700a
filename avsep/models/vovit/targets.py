"""What VoViT learns from: mask targets and losses of both stages, always in float32.

Shapes: B items, N samples of a clip, F bins of the spectrum, M bins of the mask, T spectral frames.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor

from avsep.models.vovit.config import NUM_SOURCES
from avsep.models.vovit.model import Clips, VoViT
from avsep.models.vovit.stft import stft

BOUND = 10.0  # K of the bounded masks
MIN_WEIGHT, MAX_WEIGHT = 1e-3, 10.0
SILENCE_DB = -50.0  # a target this far below the mixture's peak, or more, is silent

RatioKind = Literal["phase_sensitive", "magnitude"]


class Loss(NamedTuple):
    """A loss and which items it may be trusted for; the trainer decides what to do with others.

    Attributes:
        value: scalar, mean over the finite items; 0 where there are none.
        items: (B,) loss of each item; 0 for items that are not finite.
        finite: (B,) bool: inputs and loss of the item are finite. Items with broken inputs go
            through the network as silence and leave the rest of the batch unharmed; where the
            inputs were fine, the network itself has diverged, and its gradients are no good.
        silent: (B,) bool: the target is silent. Such items count: "nothing" is a fair answer.
    """

    value: Tensor
    items: Tensor
    finite: Tensor
    silent: Tensor


def stage1_loss(model: VoViT, clips: Clips) -> Loss:
    """Loss of the complex mask for prepared clips; runs the first stage.

    Args:
        model: in train or eval mode.
        clips: from `VoViT.prepare`.
    """
    clips, finite = _without_broken(clips)
    network = model.network
    mixture_BFT = network.mixture_spectrum(clips.mixture)
    logits_B2MT = network.stage1(mixture_BFT, clips.points)
    target_BFT = stft(clips.target, network.spectrum)
    stride = network.spectrum.bin_stride
    items = complex_mask_loss(logits_B2MT, target_BFT[:, ::stride], mixture_BFT[:, ::stride])
    return _collect(items, clips, finite)


def stage2_loss(model: VoViT, clips: Clips, kind: RatioKind = "phase_sensitive") -> Loss:
    """Loss of the enhancer's mask for prepared clips; stage 1 runs without gradients.

    Args:
        model: a `speech` model whose first stage is frozen (`VoViT.freeze_stage1`).
        clips: from `VoViT.prepare`.
        kind: see `ratio_mask_target`.

    Raises:
        ValueError: the model has no enhancer.
    """
    network = model.network
    if network.enhancer is None:
        raise ValueError(f"a {model.config.variant!r} model has no second stage to train.")
    clips, finite = _without_broken(clips)
    with torch.no_grad():
        mixture_BFT = network.mixture_spectrum(clips.mixture)
        logits_B2MT = network.stage1(mixture_BFT, clips.points)
        _, estimate_BFT = network.apply_mask(logits_B2MT, mixture_BFT)
        target_BFT = stft(clips.target, network.spectrum)
    mask_BFT = network.enhancer(estimate_BFT.abs())
    items = ratio_mask_loss(mask_BFT, target_BFT, estimate_BFT, kind)
    return _collect(items, clips, finite)


def complex_mask_target(target_BMT: Tensor, mixture_BMT: Tensor) -> Tensor:
    """The ideal complex mask S_0 / (S_m + eps) / n: the target's share of the mixture.

    Args:
        target_BMT: complex spectrum of the wanted voice, on the bins of the mask.
        mixture_BMT: that of the mixture divided by the number of sources.

    Returns:
        (B, M, T) complex. Heavy-tailed where the mixture is weak: bound it before comparing.
    """
    eps = torch.finfo(torch.float32).eps
    below = mixture_BMT + eps
    # A real bin of a spectrum in float32 now and then is exactly -eps.
    below = torch.where(below.abs() < eps**2, eps, below)
    return target_BMT / below / NUM_SOURCES


def complex_mask_loss(logits_B2MT: Tensor, target_BMT: Tensor, mixture_BMT: Tensor) -> Tensor:
    """Weighted squared distance of bounded masks, for each item.

    mean(G (K tanh(L) - K tanh(M))^2) over both parts, all bins and frames, with K = 10 and
    G = log(1 + |S_m|) limited to 1e-3..10. The bound stands in the loss only: at inference the
    logits are the mask.

    Args:
        logits_B2MT: raw output of the first stage, real and imaginary part.
        target_BMT: complex spectrum of the wanted voice, on the bins of the mask.
        mixture_BMT: that of the mixture divided by the number of sources.

    Returns:
        (B,) float32.
    """
    with torch.autocast(logits_B2MT.device.type, enabled=False):
        mask = complex_mask_target(target_BMT, mixture_BMT)
        wanted_B2MT = BOUND * torch.tanh(torch.stack([mask.real, mask.imag], dim=1))
        given_B2MT = BOUND * torch.tanh(logits_B2MT.float())
        squared = (given_B2MT - wanted_B2MT).square()
        return (loss_weight(mixture_BMT)[:, None] * squared).flatten(1).mean(1)


def ratio_mask_target(
    target_BFT: Tensor, estimate_BFT: Tensor, kind: RatioKind = "phase_sensitive"
) -> Tensor:
    """The ideal mask in 0..1 for the magnitudes of the first stage's estimate.

    The second stage keeps the phase of the first. Given that phase, the real factor with the least
    error is Re(S_0 / S^) (`phase_sensitive`); |S_0| / |S^| (`magnitude`) also passes bins whose
    phase is wrong, at full strength, and so adds error there. Both are limited to 0..1, where the
    sigmoid of the enhancer can reach.

    Args:
        target_BFT: complex spectrum of the wanted voice, scaled as the estimate.
        estimate_BFT: complex spectrum from the first stage.
        kind: which of the two.

    Returns:
        (B, F, T) float32.
    """
    eps = torch.finfo(torch.float32).eps
    strength = estimate_BFT.abs()
    if kind == "magnitude":
        ratio = target_BFT.abs() / (strength + eps)
    elif kind == "phase_sensitive":
        ratio = (target_BFT * estimate_BFT.conj()).real / (strength.square() + eps)
    else:
        raise ValueError(f"kind is {kind!r}; it may be 'phase_sensitive' or 'magnitude'.")
    return ratio.clamp(0, 1)


def ratio_mask_loss(
    mask_BFT: Tensor,
    target_BFT: Tensor,
    estimate_BFT: Tensor,
    kind: RatioKind = "phase_sensitive",
) -> Tensor:
    """Weighted squared distance of the enhancer's mask from the ideal one, for each item.

    The weight is the first stage's, of the estimate's magnitudes: bins that nobody hears hardly
    count.

    Returns:
        (B,) float32.
    """
    with torch.autocast(mask_BFT.device.type, enabled=False):
        wanted = ratio_mask_target(target_BFT, estimate_BFT, kind)
        squared = (BOUND * (mask_BFT.float() - wanted)).square()
        return (loss_weight(estimate_BFT) * squared).flatten(1).mean(1)


def loss_weight(spectrum: Tensor) -> Tensor:
    """G = log(1 + |S|), limited to 1e-3..10; the same shape, float32."""
    return torch.log1p(spectrum.abs()).clamp(MIN_WEIGHT, MAX_WEIGHT)


def is_silent(clips: Clips) -> Tensor:
    """(B,) bool: items whose target never rises above -50 dB of the mixture's peak."""
    return clips.target.abs().amax(1) < 10 ** (SILENCE_DB / 20) * clips.mixture.abs().amax(1)


def _without_broken(clips: Clips) -> tuple[Clips, Tensor]:
    """Clips with zeros for items that are not finite, and (B,) which items are.

    One broken item would otherwise spoil the statistics of the whole batch.
    """
    finite = torch.stack([part.isfinite().flatten(1).all(1) for part in clips]).all(0)
    mixture, target = (
        torch.where(finite[:, None], part, 0.0) for part in (clips.mixture, clips.target)
    )
    points = torch.where(finite[:, None, None, None], clips.points, 0.0)
    return Clips(mixture, target, points), finite


def _collect(items_B: Tensor, clips: Clips, finite: Tensor) -> Loss:
    finite = finite & items_B.isfinite()
    items = torch.where(finite, items_B, 0.0)
    value = items.sum() / finite.sum().clamp(min=1)
    return Loss(value=value, items=items, finite=finite, silent=is_silent(clips))
