"""The heat-diffusion layer: a blur along time with a learned width a channel, and a gate."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from avsep.models.dolphin import blur
from avsep.models.dolphin.config import HeatMode
from avsep.models.dolphin.sequence import DepthwiseConv, depthwise, start_values


class HeatDiffusion(nn.Module):
    """Heat1D of the released model (docs/models.md), on (B, T, C).

    `mode` chooses how the blur is computed (see `blur`): `dense` is the released arithmetic,
    `fft` holds for any diffusivity, `filter` and `auto` take the short filter where the
    diffusivities allow one and `fft` elsewhere. The blur runs in float32 also under autocast:
    in bfloat16 it would change the result by a third.

    Args:
        channels: even.
        mode: see above.
        carry_unused: keep the released checkpoint's `to_k` filters, which no output depends on.
    """

    def __init__(self, channels: int, mode: HeatMode, *, carry_unused: bool) -> None:
        super().__init__()
        self.mode: HeatMode = mode
        self.k = nn.Parameter(torch.ones(channels))
        self.enter = DepthwiseConv(channels, 3)
        self.split_weight, self.split_bias = start_values(
            nn.Conv1d(channels, 2 * channels, 3, groups=channels)
        )
        self.norm = nn.LayerNorm(channels)
        self.leave = DepthwiseConv(channels, 3)
        self.unused_to_k = None
        if carry_unused:
            self.unused_to_k = DepthwiseConv(channels, 3).requires_grad_(False)
        self._planned_for = (-1, -1)
        self._radius: int | None = None
        self.plan()
        self.register_load_state_dict_post_hook(_plan_after_loading)

    def plan(self) -> None:
        """Choose the filter width for the present diffusivities; cheap when they are unchanged.

        Called by every uncompiled forward and after loading weights. A compiled model keeps the
        last choice (no graph break), so training under `torch.compile` calls it after each
        optimizer step or now and then (`Dolphin.plan_heat`).
        """
        # Tensors made in inference mode keep no count of their changes.
        changes = -1 if self.k.is_inference() else self.k._version
        present = (changes, self.k.data_ptr())
        if changes == -1 or present != self._planned_for:
            self._planned_for = present
            self._radius = None if self.k.is_meta else blur.filter_radius(self.k)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, C) to the same shape."""
        if not torch.compiler.is_compiling():
            self.plan()
        channels = self.k.shape[0]
        u = self.enter(x)
        # The released grouped convolution gives output j from input j // 2 and then splits in
        # halves: values come from the first half of the channels only, gates from the second.
        first, second = u.split(channels // 2, dim=-1)
        values = depthwise(_twice(first), self.split_weight[:channels], self.split_bias[:channels])
        gates = depthwise(_twice(second), self.split_weight[channels:], self.split_bias[channels:])
        with torch.autocast(x.device.type, enabled=False):
            blurred = self.norm(self._blur(values.float()))
        return self.leave(blurred * F.silu(gates))

    def blur_radius(self, length: int, mode: HeatMode) -> int | None:
        """Half width of the filter that a mode takes for a signal, or None where it takes none."""
        radius = None if mode in ("dense", "fft") else self._radius
        return radius if radius is not None and length > max(radius, blur.SHORT_SIGNAL) else None

    def _blur(self, x: Tensor) -> Tensor:
        k = self.k.float()
        if self.mode == "dense":
            return blur.dense(x, k)
        radius = self.blur_radius(x.shape[1], self.mode)
        return blur.exact(x, k) if radius is None else blur.filtered(x, k, radius)


def _plan_after_loading(layer: HeatDiffusion, _: Any) -> None:
    layer.plan()


def _twice(x: Tensor) -> Tensor:
    """Each channel twice, side by side: (B, T, C) to (B, T, 2 C)."""
    return torch.stack((x, x), dim=-1).flatten(-2)
