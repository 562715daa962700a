"""Weights and inputs of the golden Dolphin cases, from names and shapes alone."""

import json
import zlib
from pathlib import Path

import numpy as np
import torch

from avsep.models.dolphin.config import DolphinConfig
from avsep.models.dolphin.model import Dolphin
from avsep.models.dolphin.state_dict_adapter import load_official

GOLDEN = Path(__file__).parents[1] / "golden" / "dolphin"


def draw(key, shape):
    generator = np.random.Generator(np.random.PCG64(zlib.crc32(key.encode())))
    return generator.standard_normal(tuple(shape))


def rule_array(name, shape):
    """The value of one state-dict entry; the first rule that fits."""
    if name.endswith("num_batches_tracked"):
        return np.zeros(shape, np.int64)
    if name.endswith("_codebook.initted"):
        return np.ones(shape, bool)
    if name.endswith("_codebook.cluster_size"):
        return np.ones(shape, np.float32)
    if name.endswith("_codebook.embed_avg"):
        name = name.removesuffix("embed_avg") + "embed"
    z = draw(name, shape)
    if name.endswith("_codebook.embed"):
        out = z
    elif name.endswith("running_var"):
        out = 1.0 + 0.1 * np.abs(z)
    elif name.endswith("running_mean"):
        out = 0.1 * z
    elif name.endswith("layer_scale"):
        out = 0.5 + 0.1 * z
    elif name.endswith(".k"):
        out = np.abs(1.0 + 0.3 * z)
    elif name.endswith("gamma"):
        out = 1.0 + 0.1 * z
    elif name.endswith(".act.weight"):
        out = 0.25 + 0.05 * z
    elif name.endswith(".bias"):
        out = 0.1 * z
    elif len(shape) == 1:
        out = 1.0 + 0.1 * z
    else:
        out = z / np.sqrt(np.prod(shape[1:]))
    return out.astype(np.float32)


def rule_audio(batch, samples):
    values = 0.1 * draw(f"audio:{batch}x{samples}", (batch, samples))
    return torch.from_numpy(values.astype(np.float32))


def rule_lips(batch, frames, size):
    key = f"mouth:{batch}x{frames}x{size}"
    base = draw(f"{key}:base", (batch, 1, size, size))
    gain = draw(f"{key}:gain", (batch, frames))[..., None, None]
    level = draw(f"{key}:level", (batch, frames))[..., None, None]
    noise = draw(f"{key}:noise", (batch, frames, size, size))
    values = gain * base + 0.5 * level + 0.5 * noise
    return torch.from_numpy(values.astype(np.float32)[:, None])


def names_and_shapes(size):
    lines = (GOLDEN / f"{size}_state_dict.tsv").read_text().splitlines()
    rows = [line.split("\t") for line in lines if line and not line.startswith("name\t")]
    return {name: tuple(json.loads(shape)) for name, shape, *_ in rows}


def rule_state(size):
    """The official state dict of the `tiny` or the `full` model."""
    return {
        name: torch.from_numpy(rule_array(name, shape))
        for name, shape in names_and_shapes(size).items()
    }


def tiny_config():
    return DolphinConfig.from_official(json.loads((GOLDEN / "tiny_config.json").read_text()))


def tiny_dolphin(heat="dense") -> Dolphin:
    return load_official(rule_state("tiny"), config=tiny_config(), heat=heat)


def relative(ours, golden):
    """Relative L2 difference of two arrays or tensors."""
    ours = np.asarray(ours.detach() if isinstance(ours, torch.Tensor) else ours, np.float64)
    golden = np.asarray(golden, np.float64)
    return np.linalg.norm(ours - golden) / np.linalg.norm(golden)
