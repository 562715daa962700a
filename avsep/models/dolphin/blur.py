"""Heat diffusion along time: a blur with mirrored ends, computed in one of three ways.

Each function maps a float32 signal x (B, T, C) and diffusivities k (C,) to the signal whose cosine
components (orthonormal DCT-II) are multiplied by exp(-k_c * (n pi / T)^2), n = 0..T-1. For k > 0
that is a convolution with a Gaussian of standard deviation sqrt(2 k) samples over the signal
mirrored at both ends (half-sample symmetry).

- `dense`: the released arithmetic, with a T x T cosine matrix in float32. O(T^2). At T = 8000 the
  rounding of the angles makes it wrong by about 1.4e-4. Only for comparison with released numbers.
- `exact`: by FFT, or for short signals by a small accurate matrix. O(T log T).
- `filtered`: by a short symmetric filter. O(T), and the fastest where the filter can be short.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from avsep.models.cpu import for_any_length
from avsep.models.dolphin.sequence import correlate

SHORT_SIGNAL = 128  # frames; up to this length a matrix is faster than two FFTs
FILTER_ERROR = 5e-4  # largest RMS error of the frequency response of a filter
RADII = (6, 8, 12, 16, 24, 32, 48)  # filter half widths to choose from
GRID = 256  # frequency steps from 0 to pi in the integral that gives the filter taps

T = TypeVar("T")


def _cached(size: int) -> Callable[[Callable[..., T]], Callable[..., T]]:
    """An LRU cache of tensors that training can use even if inference made them.

    What is recorded for any length computes the tensors itself.
    """

    def decorate(make: Callable[..., T]) -> Callable[..., T]:
        @functools.lru_cache(maxsize=size)
        def cached(*arguments: Any) -> T:
            with torch.inference_mode(False):
                return make(*arguments)

        @functools.wraps(make)
        def call(*arguments: Any) -> T:
            compute = make if for_any_length() else cached
            return compute(*arguments)

        return call

    return decorate


@_cached(8)
def _float32_cosines(length: int, device: torch.device) -> Tensor:
    """The released (T, T) cosine matrix, with the released order of float32 operations."""
    with torch.no_grad():
        place = (torch.arange(length, device=device, dtype=torch.float32) + 0.5) / length
        number = torch.arange(length, device=device, dtype=torch.float32)
        matrix = number[:, None] * place[None, :]
        matrix = matrix.mul_(math.pi).cos_().mul_(math.sqrt(2 / length))
        matrix[0] /= math.sqrt(2)
        return matrix


@_cached(64)
def _exact_cosines(length: int, device: torch.device) -> Tensor:
    """The (T, T) orthonormal DCT-II matrix, computed in float64 and rounded to float32 once."""
    place = torch.arange(length, dtype=torch.float64) + 0.5
    number = torch.arange(length, dtype=torch.float64)
    matrix = torch.cos(number[:, None] * place[None, :] * (math.pi / length))
    matrix *= math.sqrt(2 / length)
    matrix[0] /= math.sqrt(2)
    return matrix.float().to(device)


def _decay(k: Tensor, length: int, bins: int) -> Tensor:
    """exp(-(n pi / T)^2)^k, (bins, C)."""
    omega = torch.arange(bins, device=k.device, dtype=torch.float32) * (math.pi / length)
    return torch.exp(-omega.square())[:, None] ** k[None, :]


def dense(x: Tensor, k: Tensor) -> Tensor:
    """Blur by the released float32 cosine matrix. x (B, T, C), k (C,)."""
    length = x.shape[1]
    matrix = _float32_cosines(length, x.device)
    return matrix.t() @ (_decay(k, length, length) * (matrix @ x))


def exact(x: Tensor, k: Tensor) -> Tensor:
    """Blur by FFT of the mirrored signal, or by a small matrix; any k. x (B, T, C), k (C,)."""
    length = x.shape[1]
    if length <= SHORT_SIGNAL:
        matrix = _exact_cosines(length, x.device)
        omega = torch.arange(length, device=k.device, dtype=torch.float32) * (math.pi / length)
        return matrix.t() @ (torch.exp(-omega.square()[:, None] * k) * (matrix @ x))
    time_last = x.transpose(1, 2)
    spectrum = torch.fft.rfft(torch.cat([time_last, time_last.flip(-1)], dim=-1))
    omega = torch.arange(length + 1, device=k.device, dtype=torch.float32) * (math.pi / length)
    spectrum = spectrum * torch.exp(-omega.square() * k[:, None])
    blurred = torch.fft.irfft(spectrum, n=2 * length)[..., :length]
    return blurred.transpose(1, 2).contiguous()


def filtered(x: Tensor, k: Tensor, radius: int) -> Tensor:
    """Blur by a symmetric filter of 2 * radius + 1 taps. x (B, T, C), T > radius, k (C,)."""
    return _Filtered.apply(x, k, radius)


class _Filtered(torch.autograd.Function):
    """The filter with a fast backward pass.

    With mirrored ends the blur and its derivative by k are symmetric operators. So the gradient of
    x is the blurred output gradient, and the gradient of k is the output gradient filtered by the
    derivative of the taps, times x, summed.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, k: Tensor, radius: int) -> Tensor:
        ctx.save_for_backward(x, k)
        ctx.radius = radius
        return _convolve(_mirrored(x, radius), taps(k, radius)[0])

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        x, k = ctx.saved_tensors
        kernel, by_k = taps(k, ctx.radius)
        of_x = of_k = None
        mirrored = _mirrored(grad, ctx.radius)
        if ctx.needs_input_grad[0]:
            of_x = _convolve(mirrored, kernel)
        if ctx.needs_input_grad[1]:
            of_k = (_convolve(mirrored, by_k) * x).sum((0, 1))
        return of_x, of_k, None


def _mirrored(x: Tensor, radius: int) -> Tensor:
    """(B, T, C) to (B, T + 2 radius, C): both ends extended by half-sample symmetry."""
    return torch.cat([x[:, :radius].flip(1), x, x[:, -radius:].flip(1)], dim=1)


def _convolve(mirrored: Tensor, kernel: Tensor) -> Tensor:
    """Convolve (B, T + 2 R, C) with symmetric taps (C, 2 R + 1) to (B, T, C)."""
    if not mirrored.is_cpu:
        y = F.conv1d(mirrored.transpose(1, 2), kernel[:, None], groups=mirrored.shape[-1])
        return y.transpose(1, 2)
    return correlate(mirrored, kernel[:, None], None)


@_cached(32)
def _taps_basis(radius: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Squared frequencies (G + 1,) and cosines (G + 1, R + 1) that turn a response into taps."""
    omega = torch.arange(GRID + 1, dtype=torch.float64) * (math.pi / GRID)
    weight = torch.full_like(omega, 1 / GRID)
    weight[0] = weight[-1] = 0.5 / GRID
    lags = torch.arange(radius + 1, dtype=torch.float64)
    cosines = weight[:, None] * torch.cos(omega[:, None] * lags[None, :])
    return omega.square().float().to(device), cosines.float().to(device)


def taps(k: Tensor, radius: int) -> tuple[Tensor, Tensor]:
    """The taps of the blur and their derivative by k, both (C, 2 * radius + 1).

    The taps are scaled to sum to one, so that a constant signal is unchanged.
    """
    squares, cosines = _taps_basis(radius, k.device)
    response = torch.exp(-k[:, None] * squares[None, :])
    half = response @ cosines
    half_by_k = (-squares * response) @ cosines
    total = half[:, :1] + 2 * half[:, 1:].sum(1, keepdim=True)
    total_by_k = half_by_k[:, :1] + 2 * half_by_k[:, 1:].sum(1, keepdim=True)
    by_k = (half_by_k - half * (total_by_k / total)) / total
    half = half / total
    return (
        torch.cat([half[:, 1:].flip(1), half], dim=1),
        torch.cat([by_k[:, 1:].flip(1), by_k], dim=1),
    )


@functools.lru_cache(maxsize=1)
def _radius_needed() -> tuple[np.ndarray, np.ndarray]:
    """Diffusivities (N,) and the smallest sufficient radius in `RADII` for each (N,); 0 if none."""
    k = torch.cat([torch.linspace(0, 2, 201), torch.linspace(2.05, 200, 3960)]).double()
    omega = torch.arange(1025, dtype=torch.float64) * (math.pi / 1024)
    weight = torch.full_like(omega, 1 / 1024)
    weight[0] = weight[-1] = 0.5 / 1024
    lags = torch.arange(RADII[-1] + 1, dtype=torch.float64)
    response = torch.exp(-k[:, None] * omega.square())
    taps_of_k = response @ (weight[:, None] * torch.cos(omega[:, None] * lags))
    # By Parseval, the energy of all taps is the mean of the squared response over frequency.
    energy = (response.square() * weight).sum(1)
    kept = taps_of_k.square()
    kept[:, 1:] *= 2
    needed = torch.zeros(len(k), dtype=torch.int64)
    for radius in reversed(RADII):
        error = (energy - kept[:, : radius + 1].sum(1)).clamp_min(0).sqrt()
        needed[error <= FILTER_ERROR] = radius
    return k.numpy(), needed.numpy()


def filter_radius(k: Tensor) -> int | None:
    """The filter half width that is sufficient for all diffusivities k (C,), or None if none is.

    The RMS error of the response over frequency is at most `FILTER_ERROR` per channel. Synchronises
    with the device that holds k.
    """
    lowest, highest = (bound.item() for bound in torch.aminmax(k.detach()))
    return radius_between(lowest, highest)


def radius_between(lowest: float, highest: float) -> int | None:
    """Like `filter_radius`, for the diffusivities from `lowest` to `highest`."""
    grid, needed = _radius_needed()
    if not (lowest >= 0 and highest <= grid[-1]):  # NaN too
        return None
    first, last = np.searchsorted(grid, lowest, side="right") - 1, np.searchsorted(grid, highest)
    in_range = needed[first : last + 1]
    return None if in_range.min() == 0 else int(in_range.max())
