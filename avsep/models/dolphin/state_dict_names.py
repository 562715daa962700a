"""The names in the official Dolphin checkpoint for the entries of our state dict.

One table lists, per class, what its parts are called in the official code. Walking the module tree
with it gives all names.
"""

from __future__ import annotations

from collections.abc import Iterator

from torch import nn

from avsep.models.dolphin import (
    attention,
    audio,
    blocks,
    fusion,
    heat,
    injection,
    lip_attention,
    lip_encoder,
    lip_layers,
    model,
    quantiser,
    separator,
    video_trunk,
)

# Per class: our name of a part -> the official one. Parts that are not listed keep their name. In a
# module list {place} counts from 0 and {number} from 1; a name without either gets `.{place}`.
_NAMES: dict[type[nn.Module], dict[str, str]] = {
    model.Dolphin: {
        "lip_encoder": "video_encoder",
        "lip_projection": "pre_v1",
        "video_trunk": "video_blocks",
        "feature_projection": "feature_projector",
        "fusion": "modalfuse",
        "output_layer": "out_layer",
    },
    audio.AudioEncoder: {"weight": "conv1d.weight"},
    audio.FeatureProjection: {"linear": "conv1d"},
    audio.OutputLayer: {"grow": "end_conv1x1.0", "out": "end_conv1x1.2"},
    heat.HeatDiffusion: {
        "enter": "dwconv",
        "split_weight": "linear.weight",
        "split_bias": "linear.bias",
        "norm": "out_norm",
        "leave": "out_linear",
        "unused_to_k": "to_k.0",
    },
    injection.InjectionMultiSum: {
        "local": "local_embedding",
        "shift": "global_embedding",
        "gate": "global_act",
    },
    injection.NormedHeat: {"heat": "conv"},
    video_trunk.VideoTrunk: {
        "enter": "proj_1x1",
        "levels": "spp_dw",
        "global_mlp": "globalatt",
        "inject": "loc_glo_fus",
        "unused_inject": "loc_glo_fus.2",
        "merge": "last_layer",
        "leave": "res_conv",
    },
    video_trunk.InputProjection: {"linear": "conv"},
    video_trunk.GlobalMlp: {
        "first": "fc1.conv",
        "first_norm": "fc1.norm",
        "conv": "dwconv",
        "second": "fc2.conv",
        "second_norm": "fc2.norm",
    },
    fusion.Fusion: {
        "audio_key": "key_embed",
        "audio_value": "value_embed",
        "video_key": "resize",
        "video_attention": "attention_embed",
    },
    fusion.Embed: {"linear": "conv"},
    fusion.ChannelEmbed: {"weight": "conv.weight", "bias": "conv.bias"},
    separator.Separator: {
        "positions": "pos_emb",
        "encoder": "enc_stages",
        "bottleneck": "bottleneck_G",
        "halve": "enc_stages.{place}.downconv",
        "inject": "loc_glo_fus",
        "widen": "simple_fusion",
        "decoder": "dec_stages",
    },
    separator.Stage: {
        "globals": "g_block_{number}.block",
        "locals": "l_block_{number}.block",
    },
    separator.Downsample: {"conv": "down_conv", "norm": "GN"},
    separator.Bottleneck: {"attention": "0", "feed_forward": "1"},
    attention.RelativePositions: {"table": "pe_k"},
    attention.SelfAttention: {
        "norm": "layer_norm",
        "query": "linear_q",
        "key": "linear_k",
        "value": "linear_v",
        "out": "linear_out",
        "scale": "Layer_scale.layer_scale",
    },
    blocks.GlobalBlock: {
        "attention": "DU_MHSA.block.self_attn",
        "gate_norm": "DU_MHSA.block.linear.0",
        "gate": "DU_MHSA.block.linear.1",
        "feed_forward": "FFN",
    },
    blocks.LocalBlock: {
        "heat": "CLA.heat1d",
        "norm_in": "CLA.GN1",
        "wide": "CLA.dw_conv_1d",
        "narrow": "CLA.linear3.1",
        "norm_out": "CLA.GN2",
        "scale": "CLA.Layer_scale.layer_scale",
        "feed_forward": "FFN",
    },
    blocks.FeedForward: {
        "norm": "net1.0",
        "grow": "net1.1",
        "mix": "depthwise",
        "shrink": "net2.2",
        "scale": "Layer_scale.layer_scale",
    },
    lip_encoder.LipEncoder: {
        "semantic": "semantic_model",
        "recon": "recon_model",
        "quantiser": "semantic_model.quantizer",
    },
    lip_encoder.LipPath: {"first": "conv_in", "layers": "encoder_layers"},
    lip_layers.ResidualUnit: {"conv": "fn.0", "mix": "fn.2", "gate": "fn.4"},
    lip_layers.ContextGate: {"score": "to_k", "shrink": "net.0", "grow": "net.2"},
    lip_layers.DownsampleSpace: {"weight": "conv.weight", "bias": "conv.bias"},
    lip_layers.RmsNorm: {"gain": "gamma"},
    lip_layers.SpatialFeedForward: {"grow": "net.0", "shrink": "net.2"},
    lip_attention.SpatialBlock: {"attention": "0.fn", "feed_forward": "1.fn"},
    lip_attention.FullAttention: {
        "memory": "mem_kv",
        "query_key_value": "to_qkv.0",
        "out": "to_out.1",
    },
    lip_attention.LinearAttention: {
        "query": "attn.to_q.0",
        "key_value": "attn.to_kv.0",
        "out": "attn.to_out.0",
    },
    quantiser.Quantiser: {
        "initialised": "layers.0._codebook.initted",
        "cluster_size": "layers.0._codebook.cluster_size",
        "code_sums": "layers.0._codebook.embed_avg",
        "codes": "layers.0._codebook.embed",
    },
}


def official_names(dolphin: model.Dolphin) -> dict[str, str]:
    """Our state-dict names -> the official ones."""
    return dict(_walk(dolphin, "", ""))


def _walk(module: nn.Module, ours: str, official: str) -> Iterator[tuple[str, str]]:
    names = _NAMES.get(type(module), {})
    for name, _ in (*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)):
        yield ours + name, official + names.get(name, name)
    for name, child in module.named_children():
        there = names.get(name, name)
        if isinstance(module, lip_encoder.LipPath) and name == "norm":
            there = f"encoder_layers.{len(module.layers)}.1"
        if isinstance(child, nn.ModuleList):
            for i, item in enumerate(child):
                listed = there if "{" in there else there + ".{place}"
                listed = listed.format(place=i, number=i + 1)
                yield from _walk(item, f"{ours}{name}.{i}.", f"{official}{listed}.")
        else:
            yield from _walk(child, f"{ours}{name}.", f"{official}{there}.")


def unused_names(dolphin: model.Dolphin) -> list[str]:
    """Official names of the tensors that no output depends on, sorted."""
    return sorted(
        official for ours, official in official_names(dolphin).items() if "unused_" in ours
    )
