"""Deterministic weights and inputs for the golden numbers of VoViT (numpy only).

Names are those of the official checkpoints: keys of the stage-1 file and of the enhancer's file.
"""

import zlib
from pathlib import Path

import numpy as np
import torch

from avsep.models.vovit.config import VoViTConfig
from avsep.models.vovit.model import VoViT
from avsep.models.vovit.state_dict_adapter import (
    load_official,
    official_enhancer_name,
    official_stage1_name,
)

GOLDEN = Path(__file__).parent.parent / "golden" / "vovit"

# Gains that keep a random transformer sensitive to its input, and still well conditioned.
GAINS = {
    "self_attn.in_proj_weight": 2.5,
    "self_attn.out_proj.weight": 0.2,
    "linear2.weight": 0.3,
    "av_dim_adaptation.0.weight": 5.0,
}


def fill(name, shape):
    """Value for one official entry; None: keep what the formula gives."""
    if name == "graph_net.A" or name.endswith("pos_emb.weight"):
        return None
    if name.endswith("num_batches_tracked"):
        return np.zeros(shape, np.int64)
    seed = zlib.crc32(name.encode())
    z = np.random.Generator(np.random.PCG64(seed)).standard_normal(tuple(shape))
    value = _scaled(name, z)
    return np.ascontiguousarray(value, dtype=np.float32)


def _scaled(name, z):
    if name == "graph_net.data_bn.running_mean":
        return 100.0 + 10.0 * z
    if name == "graph_net.data_bn.running_var":
        return 400.0 * (1.0 + 0.1 * np.abs(z))
    if name.endswith("running_mean"):
        return 0.1 * z
    if name.endswith("running_var"):
        return 1.0 + 0.1 * np.abs(z)
    if name.endswith("edge_importance"):
        return 1.0 + 0.1 * z
    if z.ndim == 4:
        return z * np.sqrt(2.0 / np.prod(z.shape[1:]))
    if z.ndim == 2:
        gain = next((g for end, g in GAINS.items() if name.endswith(end)), 1.0)
        return z * np.sqrt(1.0 / z.shape[1]) * gain
    if name.endswith("bias"):
        return (0.015 if name.startswith("audio_network.fusion_module.") else 0.05) * z
    return 1.0 + 0.1 * z


def official_state(module, official_name):
    """The rule's state dict for a module, under official names."""
    state = {}
    for name, value in module.state_dict().items():
        official = official_name(name)
        filled = fill(official, value.shape)
        state[official] = value if filled is None else torch.from_numpy(filled)
    return state


def stage1_state(variant):
    return official_state(VoViT(VoViTConfig.full(variant)).network.stage1, official_stage1_name)


def enhancer_state():
    model = VoViT(VoViTConfig.full("speech"))
    return official_state(model.network.enhancer, official_enhancer_name)


def mean_face():
    """The official mean face, (68, 3) float32."""
    table = np.loadtxt(GOLDEN / "vovit-mean-face.tsv", skiprows=1)
    return torch.from_numpy(table[:, 1:]).float()


def golden_model(variant="speech"):
    model = VoViT(VoViTConfig.full(variant))
    stage1 = official_state(model.network.stage1, official_stage1_name)
    enhancer = None
    if model.network.enhancer is not None:
        enhancer = official_state(model.network.enhancer, official_enhancer_name)
    del model
    face = None if variant == "singing" else mean_face()
    return load_official(stage1, enhancer, variant=variant, mean_face=face)


def synth_audio(b, n, rate_hz=16384):
    """Mixture number b: two gliding, amplitude-modulated harmonic tones and noise."""
    t = np.arange(n, dtype=np.float64) / rate_hz
    rng = np.random.Generator(np.random.PCG64(7000 + b))
    x = 0.02 * rng.standard_normal(n)
    for s, f0 in enumerate((130.0 + 17.0 * b, 221.0 + 11.0 * b)):
        phase = 2 * np.pi * (f0 * t + 6.0 * np.sin(2 * np.pi * (1.5 + s) * t))
        envelope = 0.5 - 0.5 * np.cos(2 * np.pi * (3.0 + 1.3 * s) * t + s)
        for h in range(1, 13):
            x += 0.25 * envelope * np.sin(h * phase) / h
    return torch.from_numpy(x.astype(np.float32))


def synth_landmarks(b, frames):
    """Landmarks that look tracked, (frames, 68, 3): head turning, mouth opening, jitter."""
    rng = np.random.Generator(np.random.PCG64(9000 + b))
    face = mean_face().double().numpy().T
    center = face.mean(1, keepdims=True)
    out = np.empty((frames, 3, 68))
    for t in range(frames):
        a, g = 0.25 * np.sin(0.10 * t + b), 0.15 * np.cos(0.07 * t + 2 * b)
        ry = np.array([[np.cos(a), 0, np.sin(a)], [0, 1, 0], [-np.sin(a), 0, np.cos(a)]])
        rz = np.array([[np.cos(g), -np.sin(g), 0], [np.sin(g), np.cos(g), 0], [0, 0, 1]])
        p = face.copy()
        opening = 4.0 * (1 + np.sin(0.9 * t + b))
        p[1, 54:60] += opening
        p[1, 64:68] += opening
        p[1, 5:12] += 0.5 * opening
        shift = np.array([[3 * np.sin(0.05 * t)], [2 * b], [10.0]])
        out[t] = rz @ ry @ (p - center) + center + shift
    out += 0.4 * rng.standard_normal(out.shape)
    return torch.from_numpy(np.round(out).astype(np.float32)).transpose(1, 2)
