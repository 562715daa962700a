"""The heat-diffusion layer: a blur along time with a learned width per channel, and a gate."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from avsep.models.cpu import worthwhile
from avsep.models.dolphin import blur
from avsep.models.dolphin.config import HeatMode
from avsep.models.dolphin.sequence import DepthwiseConv, correlate, depthwise, initial_parameters
from avsep.models.dolphin.tiles import spans
from avsep.models.full_precision import autocast_dtype, full_precision
from avsep.models.gpu import layers
from avsep.models.gpu import ops as gpu


class HeatDiffusion(nn.Module):
    """Heat1D of the released model (docs/models.md), on (B, T, C).

    `mode` selects how the blur is computed (see `blur`): `dense` is the released arithmetic, `fft`
    works for any diffusivity, `filter` and `auto` use the short filter where the diffusivities
    allow one and `fft` elsewhere. The blur runs in float32 even under autocast: bfloat16 would
    change the result by a third.

    Args:
        channels: channels of input and output; even.
        mode: how the blur is computed.
        carry_unused: keep the `to_k` filters of the released checkpoint, which no output depends
            on.
    """

    def __init__(self, channels: int, mode: HeatMode, *, carry_unused: bool) -> None:
        super().__init__()
        self.mode: HeatMode = mode
        self.k = nn.Parameter(torch.ones(channels))
        self.enter = DepthwiseConv(channels, 3)
        self.split_weight, self.split_bias = initial_parameters(
            nn.Conv1d(channels, 2 * channels, 3, groups=channels)
        )
        self.norm = nn.LayerNorm(channels)
        self.leave = DepthwiseConv(channels, 3)
        self.unused_to_k = None
        if carry_unused:
            self.unused_to_k = DepthwiseConv(channels, 3).requires_grad_(False)
        self._planned_for = (-1, -1)
        self._radius: int | None = None
        self._kept_taps: Tensor | None = None
        self.plan()
        self.register_load_state_dict_post_hook(_plan_after_loading)

    def plan(self) -> None:
        """Choose the filter width for the current diffusivities; see `plan_layers`."""
        plan_layers([self])

    def _is_planned(self) -> bool:
        """Whether the diffusivities are the ones that the filter was chosen for.

        A fused optimiser changes them without raising their version: whoever trains must call
        `plan_layers` after each step.
        """
        # Tensors created in inference mode have no version counter.
        return self.k.is_meta or (
            not self.k.is_inference() and self._planned_for == _version(self.k)
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, C) to the same shape."""
        if not (torch.compiler.is_compiling() or self._is_planned()):
            self.plan()
        channels = self.k.shape[0]
        radius = self._radius
        filters = self.mode in ("filter", "auto")
        if radius is not None and filters and gpu.usable(x) and autocast_dtype(x) is None:
            return layers.heat(x, self._weights(), self.norm.eps, self._taps(radius))
        if radius is not None and filters and worthwhile(x) and x.shape[1] > blur.SHORT_SIGNAL:
            return self._by_tiles(x, radius)
        u = self.enter(x)
        # The released grouped convolution computes output j from input j // 2 and splits the
        # outputs in halves. So values come from the first half of the channels, gates from the
        # second.
        first, second = u.split(channels // 2, dim=-1)
        values = depthwise(
            _repeat_channels(first), self.split_weight[:channels], self.split_bias[:channels]
        )
        gates = depthwise(
            _repeat_channels(second), self.split_weight[channels:], self.split_bias[channels:]
        )
        with full_precision(x):
            blurred = self.norm(self._blur(values.float()))
        return self.leave(blurred * F.silu(gates))

    def _by_tiles(self, x: Tensor, radius: int) -> Tensor:
        """The layer with a filter, in tiles; at both ends of the sequence the blur is mirrored."""
        channels, length = self.k.shape[0], x.shape[1]
        taps = self._taps(radius)[0]
        weight, bias = self.split_weight, self.split_bias
        out = torch.empty_like(x)
        for item in range(len(x)):
            for start, stop, low, high in spans(length, radius + 3, times=2):
                u = self.enter(x[item : item + 1, low:high])
                first, second = u.split(channels // 2, dim=-1)
                values = depthwise(_repeat_channels(first), weight[:channels], bias[:channels])
                gates = depthwise(_repeat_channels(second), weight[channels:], bias[channels:])
                left, right = low == 0, high == length
                values = torch.cat(
                    [values[:, :radius].flip(1)] * left
                    + [values]
                    + [values[:, -radius:].flip(1)] * right,
                    dim=1,
                )
                blurred = self.norm(correlate(values, taps[:, None], None))
                low += 0 if left else radius
                at = low + blurred.shape[1]
                gates = F.silu(gates[:, gates.shape[1] - (high - low) :][:, : at - low])
                part = self.leave(blurred * gates)
                out[item, start:stop] = part[0, start - low : stop - low]
        return out

    def blur_radius(self, length: int, mode: HeatMode) -> int | None:
        """Half width of the filter that `mode` uses for `length` frames; None for no filter."""
        radius = None if mode in ("dense", "fft") else self._radius
        return radius if radius is not None and length > max(radius, blur.SHORT_SIGNAL) else None

    def _weights(self) -> tuple[Tensor, ...]:
        enter, leave, norm = self.enter, self.leave, self.norm
        split = self.split_weight, self.split_bias
        outer = norm.weight, norm.bias, leave.weight, leave.bias
        return enter.weight, enter.bias, *split, *outer, self.k

    def _taps(self, radius: int) -> Tensor:
        """The taps of the filter, kept until the next plan where no gradient is wanted."""
        if torch.is_grad_enabled():
            return gpu.blur_taps(self.k.detach(), radius, True)
        taps = self._kept_taps  # of threads that share a model, one may plan anew meanwhile
        if taps is None or taps.device != self.k.device:
            with torch.inference_mode(False), torch.no_grad():
                if gpu.usable(self.k):
                    taps = gpu.blur_taps(self.k.detach(), radius, False)
                else:
                    taps = blur.taps(self.k.detach().float(), radius)[0][None]
            self._kept_taps = taps
        return taps

    def _blur(self, x: Tensor) -> Tensor:
        k = self.k.float()
        if self.mode == "dense":
            return blur.dense(x, k)
        radius = self.blur_radius(x.shape[1], self.mode)
        return blur.exact(x, k) if radius is None else blur.filtered(x, k, radius)


def plan_layers(layers: Iterable[HeatDiffusion]) -> None:
    """Choose the filter widths of layers for their current diffusivities.

    Waits for the device once, however many layers there are. A layer does this by itself after
    loading weights, and in a forward pass that finds its diffusivities changed. Two things change
    them unseen: a fused optimiser, and a training under `torch.compile`, which keeps the last
    choice to avoid a graph break. Call this after each step of such a training.
    """
    groups: dict[tuple[torch.device, int], list[HeatDiffusion]] = {}
    for layer in layers:
        if not layer.k.is_meta:  # without values, the last choice stands
            groups.setdefault((layer.k.device, len(layer.k)), []).append(layer)
    if not groups:
        return
    ranges = [
        torch.stack(torch.stack([layer.k.detach().float() for layer in group]).aminmax(dim=1))
        for group in groups.values()
    ]
    lowest, highest = torch.cat(ranges, dim=1).tolist()
    for layer, low, high in zip(chain(*groups.values()), lowest, highest, strict=True):
        layer._radius = blur.radius_between(low, high)
        layer._planned_for = _version(layer.k)
        layer._kept_taps = None


def _version(k: Tensor) -> tuple[int, int]:
    return (-1 if k.is_inference() else k._version, k.data_ptr())


def _plan_after_loading(layer: HeatDiffusion, _: Any) -> None:
    layer.plan()


def _repeat_channels(x: Tensor) -> Tensor:
    """Repeat each channel twice, side by side: (B, T, C) to (B, T, 2 C)."""
    return torch.stack((x, x), dim=-1).flatten(-2)
