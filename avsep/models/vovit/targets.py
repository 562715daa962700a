"""Mask targets and losses of VoViT's two stages, always in float32.

Shapes: B items, N samples per clip, F bins of the spectrum, M bins of the mask, T spectral frames.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor

from avsep.models.full_precision import full_precision
from avsep.models.vovit.config import NUM_SOURCES
from avsep.models.vovit.model import Clips, VoViT
from avsep.models.vovit.stft import stft

BOUND = 10.0  # K, the bound of the masks in the losses
MIN_WEIGHT, MAX_WEIGHT = 1e-3, 10.0
SILENCE_DB = -50.0  # a target this far below the mixture's peak, or more, is silent

RatioKind = Literal["phase_sensitive", "magnitude"]


class Loss(NamedTuple):
    """A loss, and for which items it is valid.

    Attributes:
        value: scalar, mean over the finite items; 0 if there are none.
        items: (B,) loss per item; 0 for items that are not finite.
        finite: (B,) bool, whether inputs and loss of the item are finite. Items with broken inputs
            go through the network as silence and do not affect the rest of the batch. If the inputs
            are finite but the loss is not, the network has diverged and its gradients are invalid.
        silent: (B,) bool, whether the target is silent. Such items count towards the loss.
    """

    value: Tensor
    items: Tensor
    finite: Tensor
    silent: Tensor


def stage1_loss(model: VoViT, clips: Clips) -> Loss:
    """Loss of the first stage's complex mask for prepared clips.

    Args:
        model: in train or eval mode.
        clips: from `VoViT.prepare`.
    """
    clips, finite = _zero_broken(clips)
    network = model.network
    mixture_BFT = network.mixture_spectrum(clips.mixture)
    logits_B2MT = network.stage1(mixture_BFT, clips.points)
    target_BFT = stft(clips.target, network.spectrum)
    stride = network.spectrum.bin_stride
    items = complex_mask_loss(logits_B2MT, target_BFT[:, ::stride], mixture_BFT[:, ::stride])
    return _collect(items, clips, finite)


def stage2_loss(model: VoViT, clips: Clips, kind: RatioKind = "phase_sensitive") -> Loss:
    """Loss of the enhancer's mask for prepared clips; the first stage runs without gradients.

    Args:
        model: a `speech` model whose first stage is frozen (`VoViT.freeze_stage1`).
        clips: from `VoViT.prepare`.
        kind: see `ratio_mask_target`.

    Raises:
        ValueError: the model has no enhancer.
    """
    network = model.network
    if network.enhancer is None:
        raise ValueError(f"a {model.config.variant!r} model has no second stage; use 'speech'.")
    clips, finite = _zero_broken(clips)
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
        target_BMT: complex spectrum of the target voice, on the bins of the mask.
        mixture_BMT: complex spectrum of the mixture, divided by the number of sources.

    Returns:
        (B, M, T) complex. Very large where the mixture is weak: bound it before comparing.
    """
    eps = torch.finfo(torch.float32).eps
    divisor = mixture_BMT + eps
    # A bin of a float32 spectrum is occasionally exactly -eps.
    divisor = torch.where(divisor.abs() < eps**2, eps, divisor)
    return target_BMT / divisor / NUM_SOURCES


def complex_mask_loss(logits_B2MT: Tensor, target_BMT: Tensor, mixture_BMT: Tensor) -> Tensor:
    """Weighted squared distance of bounded masks, per item.

    mean(G (K tanh(L) - K tanh(M))^2) over both parts, all bins and frames, with K = 10 and
    G = log(1 + |S_m|) limited to 1e-3..10. Only the loss bounds the mask: at inference the logits
    are the mask.

    Args:
        logits_B2MT: output of the first stage, real and imaginary part.
        target_BMT: complex spectrum of the target voice, on the bins of the mask.
        mixture_BMT: complex spectrum of the mixture, divided by the number of sources.

    Returns:
        (B,) float32.
    """
    with full_precision(logits_B2MT):
        mask = complex_mask_target(target_BMT, mixture_BMT)
        ideal_B2MT = BOUND * torch.tanh(torch.stack([mask.real, mask.imag], dim=1))
        given_B2MT = BOUND * torch.tanh(logits_B2MT.float())
        squared = (given_B2MT - ideal_B2MT).square()
        return (loss_weight(mixture_BMT)[:, None] * squared).flatten(1).mean(1)


def ratio_mask_target(
    target_BFT: Tensor, estimate_BFT: Tensor, kind: RatioKind = "phase_sensitive"
) -> Tensor:
    """The ideal mask in 0..1 for the magnitudes of the first stage's estimate.

    The second stage keeps the phase of the first. Given that phase, Re(S_0 / S^) is the real factor
    with the least error (`phase_sensitive`). The factor |S_0| / |S^| (`magnitude`) passes bins of
    wrong phase at full strength, which adds error. Both are limited to 0..1, the range of the
    enhancer's sigmoid.

    Args:
        target_BFT: complex spectrum of the target voice, at the scale of the estimate.
        estimate_BFT: complex spectrum from the first stage.
        kind: which of the two factors.

    Returns:
        (B, F, T) float32.
    """
    eps = torch.finfo(torch.float32).eps
    magnitude = estimate_BFT.abs()
    if kind == "magnitude":
        ratio = target_BFT.abs() / (magnitude + eps)
    elif kind == "phase_sensitive":
        ratio = (target_BFT * estimate_BFT.conj()).real / (magnitude.square() + eps)
    else:
        raise ValueError(f"kind is {kind!r}; it may be 'phase_sensitive' or 'magnitude'.")
    return ratio.clamp(0, 1)


def ratio_mask_loss(
    mask_BFT: Tensor,
    target_BFT: Tensor,
    estimate_BFT: Tensor,
    kind: RatioKind = "phase_sensitive",
) -> Tensor:
    """Weighted squared distance between the enhancer's mask and the ideal one, per item.

    The weight is `loss_weight` of the estimate, so that inaudible bins hardly count.

    Returns:
        (B,) float32.
    """
    with full_precision(mask_BFT):
        ideal_BFT = ratio_mask_target(target_BFT, estimate_BFT, kind)
        squared = (BOUND * (mask_BFT.float() - ideal_BFT)).square()
        return (loss_weight(estimate_BFT) * squared).flatten(1).mean(1)


def loss_weight(spectrum: Tensor) -> Tensor:
    """G = log(1 + |S|), limited to 1e-3..10; float32 of the same shape."""
    return torch.log1p(spectrum.abs()).clamp(MIN_WEIGHT, MAX_WEIGHT)


def is_silent(clips: Clips) -> Tensor:
    """(B,) bool: whether the target stays 50 dB or more below the peak of the mixture."""
    return clips.target.abs().amax(1) < 10 ** (SILENCE_DB / 20) * clips.mixture.abs().amax(1)


def _zero_broken(clips: Clips) -> tuple[Clips, Tensor]:
    """Clips with zeros for items that are not finite, and (B,) bool which items are finite.

    Otherwise one broken item would spoil the normalisation statistics of the whole batch.
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
