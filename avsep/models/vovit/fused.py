"""VoViT's first stage on a GPU, in few kernels: the same numbers as its layers; see `gpu.ops`.

Everything lies channels last: landmarks as (B, F, V, C), spectra as (B, T, F, C). Shapes: B items,
F frames or bins, V landmarks, T spectral frames, C channels.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from avsep.models.full_precision import autocast_dtype
from avsep.models.gpu import channel_ops, ops, vovit_ops
from avsep.models.gpu.attention_stack import attention_stack, linear_act
from avsep.models.vovit.config import NUM_SOURCES
from avsep.training.batch_norm import ranks_together

if TYPE_CHECKING:
    from avsep.models.vovit.audio_encoder import AudioEncoder, ConvLayer
    from avsep.models.vovit.graph import GraphBlock, GraphNetwork
    from avsep.models.vovit.network import Stage1
    from avsep.models.vovit.transformer import FusionTransformer, SelfAttentionLayer, Stack


def serves(module: nn.Module, x: Tensor) -> bool:
    """Whether a module's pass is a forward pass without gradients, or a training step, in float32.

    A pass in eval mode with gradients takes the module's own layers.
    """
    return (
        ops.usable(x) and autocast_dtype(x) is None and module.training == torch.is_grad_enabled()
    )


def logits(stage1: Stage1, mixture_BFT: Tensor, points_BKV2: Tensor) -> Tensor:
    """Mask logits (B, 2, M, T), see `Stage1`."""
    kept = torch.view_as_real(mixture_BFT.transpose(1, 2)[..., :: stage1.bin_stride])
    points = graph_points(stage1.graph, points_BKV2)
    if stage1.audio_encoder.compute_dtype in (None, torch.float32):
        audio = _audio_maps(stage1.audio_encoder, kept)
    else:
        features = stage1.audio_encoder(kept.permute(0, 3, 1, 2))
        maps = cast("ConvLayer", stage1.audio_encoder.layers[-1]).conv.out_channels
        audio = features.unflatten(2, (maps, -1)).transpose(2, 3)
    joined = vovit_ops.JoinFeatures.apply(points, audio.contiguous())
    return _fuse(stage1.fusion, joined)


def apply_mask(logits_B2MT: Tensor, mixture_BFT: Tensor) -> tuple[Tensor, Tensor]:
    """See `VoViTNetwork.apply_mask`."""
    mask, masked = vovit_ops.apply_mask(
        logits_B2MT.permute(0, 3, 1, 2).flatten(2).contiguous(),
        torch.view_as_real(mixture_BFT.transpose(1, 2)).contiguous(),
        float(NUM_SOURCES),
    )
    mask_BMT, masked_BFT = (torch.view_as_complex(t).transpose(1, 2) for t in (mask, masked))
    return mask_BMT, masked_BFT


def graph_points(graph: GraphNetwork, points_BFV2: Tensor) -> Tensor:
    """The output of the last block, (B, F, V, C)."""
    batch, frames, nodes, _ = points_BFV2.shape
    x = _norm_act(graph.norm, points_BFV2.reshape(batch * frames, -1), slope=1.0)
    for block in graph.blocks:
        x = _graph_block(cast("GraphBlock", block), x.view(batch, frames, nodes, -1), graph.edges)
    return x.view(batch, frames, nodes, -1)


def _graph_block(block: GraphBlock, x: Tensor, edges: Tensor) -> Tensor:
    """(B, F, V, C) to rows (B F V, C')."""
    batch, frames, nodes, _ = x.shape
    rows = x.flatten(0, 2)
    groups = F.linear(rows, block.expand.weight.flatten(1), block.expand.bias)
    groups = groups.view(batch * frames, nodes, -1)
    norm = block.norm_in
    if block.training:
        mixed = vovit_ops.GraphMix.apply(groups, edges, block.edge_importance)
        mixed = _norm_act(norm, mixed.flatten(0, 1), slope=0.0)
    else:
        mixed = vovit_ops.graph_mix(
            groups, edges, block.edge_importance, norm.running_mean, norm.running_var, norm.weight,
            norm.bias, norm.eps,
        )  # fmt: skip
    moved = _convolved(block.temporal, mixed.view(batch, frames, nodes, -1))
    residual = None if block.shortcut is None else rows
    if isinstance(block.shortcut, nn.Sequential):
        conv = cast("nn.Conv2d", block.shortcut[0])
        shortcut_norm = cast("nn.BatchNorm2d", block.shortcut[1])
        shortcut = F.linear(rows, conv.weight.flatten(1))
        residual = _norm_act(shortcut_norm, shortcut, slope=1.0, conv_bias=conv.bias)
    return _norm_act(
        block.norm_out, moved.flatten(0, 2), slope=0.0, conv_bias=block.temporal.bias,
        residual=residual,
    )  # fmt: skip


def _audio_maps(encoder: AudioEncoder, x: Tensor) -> Tensor:
    """(B, T, F, 2) to (B, T, F', C)."""
    from avsep.models.vovit.audio_encoder import NEGATIVE_SLOPE

    x = x.contiguous()
    for layer in cast("list[ConvLayer]", encoder.layers):
        x = _convolved(layer.conv, x)
        rows = _norm_act(
            layer.norm, x.flatten(0, 2), slope=NEGATIVE_SLOPE, conv_bias=layer.conv.bias
        )
        x = rows.view(x.shape)
    return x


def _convolved(conv: nn.Conv2d, x: Tensor) -> Tensor:
    """A convolution without its bias, (B, H, W, C) to contiguous (B, H', W', C')."""
    y = F.conv2d(x.permute(0, 3, 1, 2), conv.weight, None, conv.stride, conv.padding, conv.dilation)
    return y.permute(0, 2, 3, 1).contiguous()


def _norm_act(
    norm: nn.modules.batchnorm._BatchNorm,
    rows: Tensor,
    *,
    slope: float,
    conv_bias: Tensor | None = None,
    residual: Tensor | None = None,
) -> Tensor:
    """See `channel_ops.norm_act`; with several ranks, by the statistics of all of them."""
    if not norm.training or ranks_together() == 1:
        return channel_ops.norm_act(norm, rows, slope=slope, conv_bias=conv_bias, residual=residual)
    x = rows if conv_bias is None else rows + conv_bias
    if isinstance(norm, nn.BatchNorm2d):
        y = norm(x.t()[None, :, :, None])[0, :, :, 0].t()
    else:
        y = norm(x)
    y = y if residual is None else y + residual
    return (y if slope == 1.0 else F.leaky_relu(y, slope)).contiguous()


def _fuse(fusion: FusionTransformer, joined_BTC: Tensor) -> Tensor:
    """See `FusionTransformer`."""
    adapted = F.linear(joined_BTC, fusion.adapt.weight, fusion.adapt.bias)
    z_BTD, z_BDT = vovit_ops.AddPositions.apply(
        adapted, fusion.temporal_positions(), fusion.spectral_positions(), 0.1
    )
    spectral_BDT = _stack(fusion.spectral, z_BDT)
    decoded = _stack(fusion.decoder, _stack(fusion.temporal, z_BTD) + spectral_BDT.transpose(1, 2))
    hidden = fusion.mask_hidden
    if torch.is_grad_enabled():
        activated = F.leaky_relu(F.linear(decoded, hidden.weight, hidden.bias), 0.5)
    else:
        activated = linear_act(decoded, hidden.weight, hidden.bias, 0.5)
    mask = F.linear(activated, fusion.mask_out.weight, fusion.mask_out.bias)
    return mask.unflatten(2, (2, -1)).permute(0, 2, 3, 1)


def _stack(stack: Stack, x_BLD: Tensor) -> Tensor:
    layers = cast("list[SelfAttentionLayer]", stack.layers)
    weights = [
        values
        for layer in layers
        for part in (
            layer.qkv, layer.out, layer.norm_attention, layer.expand, layer.contract,
            layer.norm_feedforward,
        )
        for values in (part.weight, part.bias)
    ]  # fmt: skip
    first = layers[0]
    return attention_stack(
        x_BLD, [*weights, stack.norm.weight, stack.norm.bias], first.heads, stack.norm.eps,
        first.dropout if stack.training else 0.0,
    )  # fmt: skip
