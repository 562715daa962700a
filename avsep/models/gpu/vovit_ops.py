"""Operations of VoViT alone, one kernel each; see `ops` and, for the shapes, `vovit_kernels`."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from avsep.models.gpu.ops import check_inputs, power

BLOCK = 1024


def _kernels(*inputs: Tensor | None) -> Any:
    check_inputs(*inputs)
    from avsep.models.gpu import vovit_kernels

    return vovit_kernels


@torch.library.custom_op("avsep::graph_mix", mutates_args=())
def graph_mix(
    groups: Tensor, edges: Tensor, importance: Tensor, mean: Tensor | None,
    variance: Tensor | None, weight: Tensor | None, bias: Tensor | None, eps: float,
) -> Tensor:  # fmt: skip
    """Sums over neighbours (N, V, C) of the groups (N, V, 3 C); edges and importance (3, V, V).

    Only neighbouring landmarks may have edges. With statistics, batch norm and ReLU follow.
    """
    items, nodes, channels = groups.shape[0], groups.shape[1], groups.shape[2] // 3
    y = groups.new_empty(items, nodes, channels)
    norm = (mean, variance, weight, bias)
    launch = _kernels(groups, edges, importance, *norm).graph_mix
    launch[(items, -(-nodes * channels // BLOCK))](
        groups, edges, importance, *(edges if t is None else t for t in norm), y, nodes,
        channels, eps, NORM=mean is not None, BLOCK=BLOCK,
    )  # fmt: skip
    return y


@graph_mix.register_fake
def _(groups, edges, importance, mean, variance, weight, bias, eps):  # type: ignore[no-untyped-def]
    return groups.new_empty(groups.shape[0], groups.shape[1], groups.shape[2] // 3)


@torch.library.custom_op("avsep::graph_mix_grad", mutates_args=())
def graph_mix_grad(grad: Tensor, edges: Tensor, importance: Tensor) -> Tensor:
    """The gradient of the groups; `grad` is contiguous."""
    items, nodes, channels = grad.shape
    out = grad.new_empty(items, nodes, 3 * channels)
    _kernels(grad, edges, importance).graph_mix_grad[(items, -(-3 * nodes * channels // BLOCK))](
        grad, edges, importance, out, nodes, channels, BLOCK=BLOCK
    )
    return out


@graph_mix_grad.register_fake
def _(grad, edges, importance):  # type: ignore[no-untyped-def]
    return grad.new_empty(grad.shape[0], grad.shape[1], 3 * grad.shape[2])


@torch.library.custom_op("avsep::graph_importance_grad", mutates_args=())
def graph_importance_grad(groups: Tensor, grad: Tensor, edges: Tensor) -> Tensor:
    """The gradient (3, V, V) of the importance; `grad` is contiguous."""
    items, nodes, channels = grad.shape
    out, width = torch.empty_like(edges), min(power(channels), 64)
    _kernels(groups, grad, edges).graph_importance_grad[(3 * nodes,)](
        groups, grad, edges, out, items, nodes, channels, BN=2048 // width, BC=width,
        BV=power(nodes),
    )  # fmt: skip
    return out


@graph_importance_grad.register_fake
def _(groups, grad, edges):  # type: ignore[no-untyped-def]
    return torch.empty_like(edges)


class GraphMix(torch.autograd.Function):
    """`graph_mix` without a norm, of the groups (N, V, 3 C)."""

    @staticmethod
    def forward(ctx: Any, groups: Tensor, edges: Tensor, importance: Tensor) -> Tensor:
        """(N, V, C)."""
        ctx.save_for_backward(groups, edges, importance)
        return graph_mix(groups, edges, importance, None, None, None, None, 0.0)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """The gradients of groups and importance."""
        groups, edges, importance = ctx.saved_tensors
        grad = grad.contiguous()
        of_groups = graph_mix_grad(grad, edges, importance)
        return of_groups, None, graph_importance_grad(groups, grad, edges)


@torch.library.custom_op("avsep::join_features", mutates_args=())
def join_features(points: Tensor, audio: Tensor) -> Tensor:
    """(B, T, C + M F) of points (B, frames, V, C) and audio (B, T, F, M), both contiguous."""
    batch, frames, nodes, channels = points.shape
    times, bins, maps = audio.shape[1:]
    y = points.new_empty(batch, times, channels + maps * bins)
    _kernels(points, audio).join_features[(times, batch)](
        points, audio, y, frames, nodes, channels, times, bins, maps, BV=power(nodes),
        BC=min(power(channels), 32), BLOCK=BLOCK,
    )  # fmt: skip
    return y


@join_features.register_fake
def _(points, audio):  # type: ignore[no-untyped-def]
    width = points.shape[3] + audio.shape[2] * audio.shape[3]
    return points.new_empty(points.shape[0], audio.shape[1], width)


@torch.library.custom_op("avsep::join_features_grad", mutates_args=())
def join_features_grad(grad: Tensor, frames: int, nodes: int, channels: int) -> Tensor:
    """The gradient of the points; `grad` is contiguous."""
    batch, times, width = grad.shape
    out = grad.new_empty(batch, frames, nodes, channels)
    _kernels(grad).join_features_grad[(frames, batch)](
        grad, out, frames, nodes, channels, times, width, BV=power(nodes),
        BC=min(power(channels), 32),
    )  # fmt: skip
    return out


@join_features_grad.register_fake
def _(grad, frames, nodes, channels):  # type: ignore[no-untyped-def]
    return grad.new_empty(grad.shape[0], frames, nodes, channels)


class JoinFeatures(torch.autograd.Function):
    """`join_features`."""

    @staticmethod
    def forward(ctx: Any, points: Tensor, audio: Tensor) -> Tensor:
        """(B, T, C + M F)."""
        ctx.shapes = points.shape[1:], audio.shape
        return join_features(points, audio)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
        """The gradients of points and audio."""
        points, (batch, times, bins, maps) = ctx.shapes
        grad = grad.contiguous()
        of_audio = grad[..., points[-1] :].view(batch, times, maps, bins).transpose(2, 3)
        return join_features_grad(grad, *points), of_audio.contiguous()


@torch.library.custom_op("avsep::add_positions", mutates_args=())
def add_positions(
    x: Tensor, by_time: Tensor, by_feature: Tensor, slope: float
) -> tuple[Tensor, Tensor]:
    """Leaky ReLU and positions, (B, T, D) and transposed (B, D, T); all contiguous."""
    batch, times, width = x.shape
    y, turned = torch.empty_like(x), x.new_empty(batch, width, times)
    grid = (-(-times // 32), -(-width // 32), batch)
    _kernels(x, by_time, by_feature).add_positions[grid](
        x, by_time, by_feature, y, turned, times, width, slope, BT=32, BD=32
    )
    return y, turned


@add_positions.register_fake
def _(x, by_time, by_feature, slope):  # type: ignore[no-untyped-def]
    return torch.empty_like(x), x.new_empty(x.shape[0], x.shape[2], x.shape[1])


@torch.library.custom_op("avsep::add_positions_grad", mutates_args=())
def add_positions_grad(x: Tensor, grad: Tensor, turned: Tensor, slope: float) -> Tensor:
    """The gradient of x; all contiguous."""
    batch, times, width = x.shape
    out, grid = torch.empty_like(x), (-(-times // 32), -(-width // 32), batch)
    _kernels(x, grad, turned).add_positions_grad[grid](
        x, grad, turned, out, times, width, slope, BT=32, BD=32
    )
    return out


@add_positions_grad.register_fake
def _(x, grad, turned, slope):  # type: ignore[no-untyped-def]
    return torch.empty_like(x)


class AddPositions(torch.autograd.Function):
    """`add_positions`; the positions get no gradient."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, by_time: Tensor, by_feature: Tensor, slope: float
    ) -> tuple[Tensor, Tensor]:
        """(B, T, D) and (B, D, T)."""
        ctx.save_for_backward(x)
        ctx.slope = slope
        return add_positions(x, by_time, by_feature, slope)

    @staticmethod
    def backward(ctx: Any, grad: Tensor, turned: Tensor) -> tuple[Tensor | None, ...]:
        """The gradient of x."""
        (x,) = ctx.saved_tensors
        of_x = add_positions_grad(x, grad.contiguous(), turned.contiguous(), ctx.slope)
        return of_x, None, None, None


@torch.library.custom_op("avsep::windows", mutates_args=())
def windows(x: Tensor, size: int, hop: int, scale: float) -> Tensor:
    """Frames (B, T, size) of x (B, N) under a Hann window times `scale`, reflected at the ends."""
    batch, samples = x.shape
    times = 1 + samples // hop
    y = x.new_empty(batch, times, size)
    _kernels(x).windows[(times, batch)](x, y, samples, times, size, hop, scale, BLOCK=BLOCK)
    return y


@windows.register_fake
def _(x, size, hop, scale):  # type: ignore[no-untyped-def]
    return x.new_empty(x.shape[0], 1 + x.shape[1] // hop, size)


@torch.library.custom_op("avsep::overlap_add", mutates_args=())
def overlap_add(frames: Tensor, hop: int, samples: int) -> Tensor:
    """The inverse of `windows`: frames (B, T, size) to (B, samples)."""
    batch, times, size = frames.shape
    y = frames.new_empty(batch, samples)
    _kernels(frames).overlap_add[(-(-samples // BLOCK), batch)](
        frames, y, samples, times, size, hop, TERMS=-(-size // hop), BLOCK=BLOCK
    )
    return y


@overlap_add.register_fake
def _(frames, hop, samples):  # type: ignore[no-untyped-def]
    return frames.new_empty(frames.shape[0], samples)


@torch.library.custom_op("avsep::apply_mask", mutates_args=())
def apply_mask(logits: Tensor, mixture: Tensor, factor: float) -> tuple[Tensor, Tensor]:
    """The mask (B, T, M, 2) and the masked spectrum (B, T, F, 2), from logits (B, T, 2 M)."""
    bins, masks = mixture.shape[2], logits.shape[2] // 2
    mask, out = logits.new_empty(*logits.shape[:2], masks, 2), torch.empty_like(mixture)
    _kernels(logits, mixture).apply_mask[(logits.shape[0] * logits.shape[1],)](
        logits, mixture, mask, out, bins, bins // masks, factor, BLOCK=512
    )
    return mask, out


@apply_mask.register_fake
def _(logits, mixture, factor):  # type: ignore[no-untyped-def]
    mask = logits.new_empty(*logits.shape[:2], logits.shape[2] // 2, 2)
    return mask, torch.empty_like(mixture)
