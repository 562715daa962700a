"""Cost of Dolphin's forward pass by audio length: our default and the released dense arithmetic.

MACs are those of convolutions, matrix products and attention, see `counted_macs`. They include the
dense products of the heat layers, which the published 10.89 G for 1 s (ptflops) leave out; these
are also given separately.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from avsep.bench.models.settings import ModelBench, autocast
from avsep.bench.timing import time_once
from avsep.evaluation.macs import counted_macs
from avsep.machine import memory_mb
from avsep.models.dolphin import blur
from avsep.models.dolphin.config import DolphinConfig, HeatMode
from avsep.models.dolphin.heat import HeatDiffusion
from avsep.models.dolphin.model import Dolphin
from avsep.schema import FPS, RATE_HZ

COLUMNS = {
    "audio_s": "audio, s",
    "variant": "variant",
    "latency_s": "warm median, s",
    "cpu_s": "CPU s",
    "cold_s": "cold first run, s",
    "peak_memory_mb": "peak memory, MiB",
    "macs_g": "GMACs",
    "macs_heat_g": "of these heat, G",
    "times_faster": "times faster than dense",
    "times_faster_cpu": "the same in CPU time",
    "difference": "relative difference",
}


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One way to run the model.

    Attributes:
        heat: how heat diffusion is computed.
        precision: number format of the autocast: `fp32`, `bf16` or `fp16`.
        compiled: whether the model is compiled by `torch.compile`.
    """

    heat: HeatMode = "auto"
    precision: str = "fp32"
    compiled: bool = False

    @property
    def name(self) -> str:
        """Name in tables, e.g. `auto bf16 compiled`."""
        return " ".join([self.heat, self.precision, *(["compiled"] if self.compiled else [])])

    def autocast(self, device: str) -> AbstractContextManager[Any]:
        """The context of a forward pass."""
        return autocast(self.precision, device)


DENSE, DEFAULT = Variant(heat="dense"), Variant()


@dataclass(frozen=True, kw_only=True)
class DolphinBench(ModelBench):
    """What to measure of Dolphin.

    Attributes:
        seconds: lengths of audio, in seconds.
        dense_up_to_s: longest audio for the dense arithmetic, in seconds. Its matrices grow
            quadratically: 2.6 GB at 4 s, 16 GB at 10 s.
        compiled: whether to measure `torch.compile` too.
        train: whether to measure a training step and the heat layer's backward pass too.
        long_s: lengths of recordings to separate in windows, in seconds.
        weights: a model file or directory; None for random weights.
    """

    seconds: tuple[float, ...] = (1.0, 2.0, 4.0, 10.0)
    dense_up_to_s: float = 4.0
    compiled: bool = False
    train: bool = False
    long_s: tuple[float, ...] = ()
    weights: Path | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        for seconds in (*self.seconds, *self.long_s):
            if not 0.04 <= seconds <= 7200:
                raise ValueError(f"{seconds:g} s of audio: lengths must be from 0.04 to 7200 s.")

    def variants(self, audio_s: float) -> list[Variant]:
        """The variants that are compared at a length of audio."""
        variants = [DENSE] if audio_s <= self.dense_up_to_s else []
        variants += [DEFAULT, Variant(precision="bf16")]
        if self.device != "cpu":
            variants.append(Variant(precision="fp16"))
        if self.compiled:
            variants += [Variant(compiled=True), Variant(precision="bf16", compiled=True)]
        return variants


def bench_dolphin(
    settings: DolphinBench, *, announce: Callable[[str], None] = lambda line: None
) -> dict[str, Any]:
    """Measure the forward pass at each length; the result can be written as JSON.

    Memory and the cold run of each variant come from a fresh process per variant. The warm runs of
    all variants of one length come from one process, in turns.

    Args:
        settings: what to measure.
        announce: called with a line per length.
    """
    result: dict[str, Any] = {
        "model": "dolphin",
        **settings.environment(),
        "settings": asdict(replace(settings, weights=None)),
        "weights": settings.weights.name if settings.weights else "random, every branch active",
        **settings.in_child(_sizes),
        "forward": [],
    }
    for audio_s in settings.seconds:
        variants = settings.variants(audio_s)
        announce(f"{audio_s:g} s of audio: {', '.join(v.name for v in variants)}")
        timed = settings.in_child(_time_variants, audio_s)
        rows = [
            {**settings.in_child(_measure_alone, audio_s, variant), **timed[variant.name]}
            for variant in variants
        ]
        result["forward"] += [with_speedup(row, rows, "latency_s") for row in rows]
    return result


def with_speedup(row: dict[str, Any], rows: list[dict[str, Any]], time: str) -> dict[str, Any]:
    """The row, with its speedup over the dense variant if that is among the rows."""
    dense = next((other for other in rows if other["variant"] == DENSE.name), None)
    if dense is None:
        return row
    return {
        **row,
        "times_faster": dense[time] / row[time],
        "times_faster_cpu": dense["cpu_s"] / row["cpu_s"],
    }


# --- in a child process


def build_model(settings: DolphinBench) -> Dolphin:
    """The model to measure, in eval mode on its device; sets threads and seed."""
    settings.prepare()
    if settings.weights is None:
        return draw_active_weights(Dolphin(DolphinConfig.full())).to(settings.device).eval()
    from avsep.models import checkpoint

    model = checkpoint.load(settings.weights, settings.device, family="dolphin")
    assert isinstance(model, Dolphin)
    return model


@torch.no_grad()
def draw_active_weights(model: Dolphin) -> Dolphin:
    """Set random weights under which every branch affects the output, so that errors show in it.

    (With the usual initialisation the gains on the residual branches are 1e-5, and the output is
    little more than its bias.)
    """
    generator = torch.Generator().manual_seed(0)
    for name, values in model.named_parameters():
        drawn = torch.randn(values.shape, generator=generator)
        kind = name.rpartition(".")[2]
        if kind == "k":
            drawn = (1.0 + 0.3 * drawn).abs()
        elif kind == "scale":
            drawn = 0.5 + 0.1 * drawn
        elif kind.endswith("bias"):
            drawn = 0.1 * drawn
        elif ".act." in name:
            drawn = 0.25 + 0.05 * drawn
        elif values.ndim == 1:
            drawn = 1.0 + 0.1 * drawn
        else:
            drawn = drawn / (values.numel() / len(values)) ** 0.5
        values.copy_(drawn)
    codes = model.lip_encoder.quantiser.codes
    codes.copy_(torch.randn(codes.shape, generator=generator))
    return model


def _sizes(settings: DolphinBench) -> dict[str, int]:
    model = build_model(settings)
    lip_encoder = sum(p.numel() for p in model.lip_encoder.parameters())
    total = sum(p.numel() for p in model.parameters())
    return {
        "parameters": total,
        "parameters_without_lip_encoder": total - lip_encoder,
        "threads": torch.get_num_threads(),
    }


def random_inputs(settings: DolphinBench, audio_s: float, batch: int = 1) -> tuple[Tensor, Tensor]:
    """Noise as mixture (batch, L) and as lips (batch, 1, F, 88, 88)."""
    generator = torch.Generator().manual_seed(0)
    frames = max(1, round(audio_s * FPS))
    mixture = 0.1 * torch.randn(batch, round(audio_s * RATE_HZ), generator=generator)
    lips = torch.randn(batch, 1, frames, 88, 88, generator=generator)
    return mixture.to(settings.device), lips.to(settings.device)


def _runner(
    model: Dolphin, variant: Variant, inputs: tuple[Tensor, Tensor], device: str
) -> Callable[[], Tensor]:
    called: Callable[..., Tensor] = torch.compile(model) if variant.compiled else model

    def run() -> Tensor:
        model.set_heat(variant.heat)
        with torch.inference_mode(), variant.autocast(device):
            return called(*inputs)

    return run


def _measure_alone(settings: DolphinBench, audio_s: float, variant: Variant) -> dict[str, Any]:
    """Cold run, peak memory and MACs of one variant."""
    model = build_model(settings)
    inputs = random_inputs(settings, audio_s)
    run = _runner(model, variant, inputs, settings.device)
    before = memory_mb("now", settings.device)
    cold_s, _ = time_once(run, settings.device)
    run()
    peak = memory_mb("peak", settings.device)
    return {
        "variant": variant.name,
        "audio_s": audio_s,
        "cold_s": cold_s,
        "peak_memory_mb": peak,
        "model_memory_mb": before,
        **dolphin_macs(model, variant.heat, inputs),
    }


def dolphin_macs(model: Dolphin, heat: HeatMode, inputs: tuple[Tensor, Tensor]) -> dict[str, float]:
    """`macs_g` of one forward pass, and `macs_heat_g`, the part of the blurs in the heat layers.

    The forward pass is counted in the default mode. The blurs' MACs follow from a formula, so those
    of the default mode are replaced by those of the requested mode.
    """
    default: list[int] = []
    requested: list[int] = []

    def note(layer: HeatDiffusion, arguments: tuple[Tensor, ...]) -> None:
        default.append(_blur_macs(layer, "auto", arguments[0]))
        requested.append(_blur_macs(layer, heat, arguments[0]))

    model.plan_heat()
    layers = [module for module in model.modules() if isinstance(module, HeatDiffusion)]
    hooks = [layer.register_forward_pre_hook(note) for layer in layers]
    model.set_heat("auto")
    counted = counted_macs(lambda: model(*inputs))
    for hook in hooks:
        hook.remove()
    macs = counted - sum(default) + sum(requested)
    return {"macs_g": macs / 1e9, "macs_heat_g": sum(requested) / 1e9}


def _blur_macs(layer: HeatDiffusion, heat: HeatMode, x: Tensor) -> int:
    """MACs of a layer's blur in a mode; an FFT counts as none."""
    batch, length, channels = x.shape
    values, radius = batch * length * channels, layer.blur_radius(length, heat)
    if heat == "dense" or (radius is None and length <= blur.SHORT_SIGNAL):
        return 2 * values * length
    if radius is None:
        return 0
    macs_of_taps = 2 * channels * (blur.GRID + 1) * (radius + 1)
    return values * (2 * radius + 1) + macs_of_taps


def _time_variants(settings: DolphinBench, audio_s: float) -> dict[str, dict[str, float]]:
    """Warm times of all variants in turns, and the difference of each from the first one."""
    model = build_model(settings)
    inputs = random_inputs(settings, audio_s)
    variants = settings.variants(audio_s)
    tasks = {v.name: _runner(model, v, inputs, settings.device) for v in variants}
    timings = settings.time(tasks)
    reference = tasks[variants[0].name]().float()
    return {
        name: {
            "latency_s": timing.median_s,
            "best_s": timing.best_s,
            "cpu_s": timing.cpu_s,
            "real_time_factor": timing.median_s / audio_s,
            "difference": _relative(tasks[name](), reference),
        }
        for name, timing in timings.items()
    }


def _relative(one: Tensor, other: Tensor) -> float:
    return float((one.float() - other).norm() / other.norm())
