"""Weights of the official VoViT checkpoints, by name."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from avsep.models.official_state import StateDict, match_entries, read_state
from avsep.models.vovit.config import Variant, VoViTConfig
from avsep.models.vovit.model import VoViT

# Buffers saved by older versions of the official code; our models compute them.
_OBSOLETE = frozenset(
    f"{prefix}.{name}"
    for prefix in ("audio_processor", "ap")
    for name in ("_window", "sp2mel.fb", "mel2sp.fb", "wav2sp.window")
)

_FUSION = r"fusion\."
# Rules from our name to the official one, applied in this order, each at most once.
_STAGE1_NAMES: tuple[tuple[str, str], ...] = (
    (r"^graph\.edges$", "graph_net.A"),
    (r"^graph\.norm\.", "graph_net.data_bn."),
    (r"^graph\.blocks\.(\d+)\.", r"graph_net.st_gcn_networks.\1."),
    (r"(st_gcn_networks\.\d+)\.expand\.", r"\1.gcn.conv."),
    (r"(st_gcn_networks\.\d+)\.norm_in\.", r"\1.tcn.0."),
    (r"(st_gcn_networks\.\d+)\.temporal\.", r"\1.tcn.2."),
    (r"(st_gcn_networks\.\d+)\.norm_out\.", r"\1.tcn.3."),
    (r"(st_gcn_networks\.\d+)\.shortcut\.", r"\1.residual."),
    (rf"^{_FUSION}adapt\.", "audio_network.fusion_module.encoder.av_dim_adaptation.0."),
    (
        rf"^{_FUSION}(temporal|spectral)_positions\.",
        r"audio_network.fusion_module.encoder.\1_enc.pos_emb.",
    ),
    (
        rf"^{_FUSION}(temporal|spectral)\.",
        r"audio_network.fusion_module.encoder.\1_enc.encoder.",
    ),
    (rf"^{_FUSION}decoder\.", "audio_network.fusion_module.decoder."),
    (rf"^{_FUSION}mask_hidden\.", "audio_network.fusion_module.feats2mask.0."),
    (rf"^{_FUSION}mask_out\.", "audio_network.fusion_module.feats2mask.2."),
    (r"(layers\.\d+)\.qkv\.(weight|bias)$", r"\1.self_attn.in_proj_\2"),
    (r"(layers\.\d+)\.out\.", r"\1.self_attn.out_proj."),
    (r"(layers\.\d+)\.expand\.", r"\1.linear1."),
    (r"(layers\.\d+)\.contract\.", r"\1.linear2."),
    (r"(layers\.\d+)\.norm_attention\.", r"\1.norm1."),
    (r"(layers\.\d+)\.norm_feedforward\.", r"\1.norm2."),
)
_ENHANCER_NAMES: tuple[tuple[str, str], ...] = (
    (r"^down\.(\d+)\.conv\.", r"encoder.\1.layer.0."),
    (r"^down\.(\d+)\.norm\.", r"encoder.\1.layer.1."),
    (r"^up\.(\d+)\.conv\.", r"decoder.\1.layer.0."),
    (r"^up\.(\d+)\.norm\.", r"decoder.\1.layer.1."),
    (r"^mask\.", "final_conv."),
)
_AUDIO_LAYER = re.compile(r"^audio_encoder\.layers\.(\d+)\.(conv|norm)\.(.*)$")


def official_stage1_name(name: str) -> str:
    """The official name of an entry of `Stage1`."""
    if match := _AUDIO_LAYER.match(name):
        kind = {"conv": "conv", "norm": "batch_norm"}[match[2]]
        return f"audio_network.audio_net.{kind}{int(match[1]) + 1}.{match[3]}"
    return _rename(name, _STAGE1_NAMES)


def official_enhancer_name(name: str) -> str:
    """The official name of an entry of `Enhancer`."""
    return _rename(name, _ENHANCER_NAMES)


def load_official(
    stage1: StateDict | Path | str,
    enhancer: StateDict | Path | str | None = None,
    *,
    variant: Variant = "speech",
    mean_face: Tensor | None = None,
    config: VoViTConfig | None = None,
    device: torch.device | str = "cpu",
) -> VoViT:
    """A model with official weights, in eval mode.

    Args:
        stage1: `vovit_speech.pth` or `vovit_singing_voice.pth`, or its state dict.
        enhancer: `refinement_avse_low_latency.pth`, or its state dict; only for `speech`.
        variant: the variant to build.
        mean_face: (68, 3) pixels. The speech variants need the official mean face before use,
            because the weights were trained at its scale; `VoViT.set_mean_face` can set it later.
        config: sizes; None for those of the released model.
        device: the device of the model.

    Raises:
        ValueError: the enhancer is missing or superfluous, a file cannot be read, or a name, shape
            or value does not fit.
    """
    if variant == "speech" and enhancer is None:
        raise ValueError(
            "the variant 'speech' needs the enhancer's weights;"
            " without them load the variant 'speech-s1'."
        )
    if variant != "speech" and enhancer is not None:
        raise ValueError(f"the variant {variant!r} has no enhancer; leave its weights out.")
    config = config or VoViTConfig.full(variant)
    if config.variant != variant:
        raise ValueError(f"the config is for the variant {config.variant!r}, not {variant!r}.")
    with torch.device("meta"):
        model = VoViT(config)
    _fill(model.network.stage1, read_state(stage1), official_stage1_name, "stage 1")
    if model.network.enhancer is not None and enhancer is not None:
        _fill(model.network.enhancer, read_state(enhancer), official_enhancer_name, "the enhancer")
    if model.config.registers:
        model.mean_face = torch.full((68, 3), torch.nan)
    if mean_face is not None:
        model.set_mean_face(mean_face)
    return model.to(device).eval()


def _rename(name: str, rules: tuple[tuple[str, str], ...]) -> str:
    for pattern, replacement in rules:
        name = re.sub(pattern, replacement, name, count=1)
    return name


def _fill(
    module: nn.Module, state: StateDict, official_name: Callable[[str], str], what: str
) -> None:
    """Put official entries into a module that was made on the meta device."""
    names = {name: official_name(name) for name in module.state_dict()}
    given = {name: value for name, value in state.items() if name not in _OBSOLETE}
    module.load_state_dict(match_entries(module, names, given, what), strict=True, assign=True)
