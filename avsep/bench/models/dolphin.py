"""Dolphin's cost by length: the default against the released dense arithmetic, side by side.

MACs are convolutions, matrix products and attention, see `macs`. The dense products of the heat
layers are counted, which the published 10.89 G for 1 s (ptflops) leave out; they stand apart too.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from avsep.bench.timing import interleaved, time_once
from avsep.evaluation.machine import device_name, machine, memory_mb, versions
from avsep.evaluation.macs import counted_macs
from avsep.models.dolphin import blur
from avsep.models.dolphin.config import DolphinConfig, HeatMode
from avsep.models.dolphin.heat import HeatDiffusion
from avsep.models.dolphin.model import Dolphin
from avsep.processes import in_child
from avsep.schema import FPS, RATE_HZ

CHILD_LIMIT_S = 3600.0

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
        precision: of the autocast, `fp32`, `bf16` or `fp16`.
        compiled: by `torch.compile`.
    """

    heat: HeatMode = "auto"
    precision: str = "fp32"
    compiled: bool = False

    @property
    def name(self) -> str:
        """For tables, e.g. `auto bf16 compiled`."""
        return " ".join([self.heat, self.precision, *(["compiled"] if self.compiled else [])])

    def autocast(self, device: str) -> AbstractContextManager[Any]:
        """The context of a forward pass."""
        if self.precision == "fp32":
            return nullcontext()
        dtype = {"bf16": torch.bfloat16, "fp16": torch.float16}[self.precision]
        return torch.autocast(device.partition(":")[0], dtype=dtype)


DENSE, DEFAULT = Variant(heat="dense"), Variant()


@dataclass(frozen=True, kw_only=True)
class DolphinBench:
    """What to measure.

    Attributes:
        seconds: lengths of audio.
        device: `cpu` or `cuda`.
        runs: timed runs a variant.
        warm_ups: runs before that.
        threads: of PyTorch; 0 leaves its default.
        dense_up_to_s: longer audio is not run densely (its matrices grow with the square: 2.6 GB
            at 4 s, 16 GB at 10 s).
        compiled: measure `torch.compile` too.
        train: measure a training step and the heat layer's backward pass too.
        long_s: lengths to separate in windows.
        weights: a model file or directory; random weights with awake branches if None.
    """

    seconds: tuple[float, ...] = (1.0, 2.0, 4.0, 10.0)
    device: str = "cpu"
    runs: int = 5
    warm_ups: int = 1
    threads: int = 0
    dense_up_to_s: float = 4.0
    compiled: bool = False
    train: bool = False
    long_s: tuple[float, ...] = ()
    weights: Path | None = None

    def __post_init__(self) -> None:
        if not all(0.04 <= seconds <= 7200 for seconds in (*self.seconds, *self.long_s)):
            raise ValueError(f"seconds {self.seconds} must be from 0.04 to 7200.")
        if self.runs < 1 or self.warm_ups < 0 or self.threads < 0:
            raise ValueError("runs must be at least 1, warm-ups and threads at least 0.")
        if self.device != "cpu" and not self.device.startswith("cuda"):
            raise ValueError(f"device is {self.device!r}; it may be cpu or cuda.")

    def variants(self, audio_s: float) -> list[Variant]:
        """What is run side by side at a length."""
        variants = [DENSE] if audio_s <= self.dense_up_to_s else []
        variants += [DEFAULT, Variant(precision="bf16")]
        if self.device != "cpu":
            variants.append(Variant(precision="fp16"))
        if self.compiled:
            variants += [Variant(compiled=True), Variant(precision="bf16", compiled=True)]
        return variants


def bench_dolphin(
    settings: DolphinBench, *, say: Callable[[str], None] = lambda line: None
) -> dict[str, Any]:
    """Measure the forward pass at each length; JSON-able.

    Memory and the cold run of each variant come from a process of its own; the warm runs of all
    variants of a length from one more process, in turns.

    Args:
        settings: what.
        say: gets a line of progress now and then.
    """
    result: dict[str, Any] = {
        "model": "dolphin",
        "machine": machine(),
        "device": device_name(settings.device),
        "versions": versions(),
        "settings": asdict(replace(settings, weights=None)),
        "weights": settings.weights.name if settings.weights else "random, every branch awake",
        **in_child(partial(_sizes, settings), timeout_s=CHILD_LIMIT_S),
        "forward": [],
    }
    for audio_s in settings.seconds:
        variants = settings.variants(audio_s)
        say(f"{audio_s:g} s of audio: {', '.join(v.name for v in variants)}")
        timed = child(_side_by_side, settings, audio_s)
        rows = [
            {**child(_alone, settings, audio_s, variant), **timed[variant.name]}
            for variant in variants
        ]
        result["forward"] += [compared(row, rows, "latency_s") for row in rows]
    return result


def child(work: Callable[..., Any], settings: DolphinBench, *arguments: Any) -> Any:
    """What `work(settings, *arguments)` gives in a fresh process."""
    return in_child(partial(work, settings, *arguments), timeout_s=CHILD_LIMIT_S)


def compared(row: dict[str, Any], rows: list[dict[str, Any]], time: str) -> dict[str, Any]:
    """A row with how many times faster than the dense one of the same process it is."""
    dense = next((other for other in rows if other["variant"] == DENSE.name), None)
    if dense is None:
        return row
    return {
        **row,
        "times_faster": dense[time] / row[time],
        "times_faster_cpu": dense["cpu_s"] / row["cpu_s"],
    }


# --- in a child


def loaded(settings: DolphinBench) -> Dolphin:
    """The model that is measured, in eval mode on its device."""
    if settings.threads:
        torch.set_num_threads(settings.threads)
    torch.manual_seed(0)
    if settings.weights is None:
        return draw_active_weights(Dolphin(DolphinConfig.full())).to(settings.device).eval()
    from avsep.models import checkpoint

    model = checkpoint.load(settings.weights, settings.device, family="dolphin")
    assert isinstance(model, Dolphin)
    return model


@torch.no_grad()
def draw_active_weights(model: Dolphin) -> Dolphin:
    """Random weights under which every branch matters, so that errors show in the output.

    (At the usual start the gains on the residual branches are 1e-5, and the output is little more
    than its bias.)
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
    model = loaded(settings)
    lip_encoder = sum(p.numel() for p in model.lip_encoder.parameters())
    total = sum(p.numel() for p in model.parameters())
    return {
        "parameters": total,
        "parameters_without_lip_encoder": total - lip_encoder,
        "threads": torch.get_num_threads(),
    }


def example(settings: DolphinBench, audio_s: float, batch: int = 1) -> tuple[Tensor, Tensor]:
    """Noise as a mixture (batch, L) and as lips (batch, 1, F, 88, 88)."""
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


def _alone(settings: DolphinBench, audio_s: float, variant: Variant) -> dict[str, Any]:
    """Cold run, peak memory and MACs of one variant."""
    model = loaded(settings)
    inputs = example(settings, audio_s)
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
    """`macs_g` of one forward pass, and `macs_heat_g`, the share of the blurs in the heat layers.

    The pass is run and counted in the default mode; the blurs are known by formula, so that those
    of another mode can take their place.
    """
    ran: list[int] = []
    wanted: list[int] = []

    def note(layer: HeatDiffusion, arguments: tuple[Tensor, ...]) -> None:
        ran.append(_blur_macs(layer, "auto", arguments[0]))
        wanted.append(_blur_macs(layer, heat, arguments[0]))

    model.plan_heat()
    layers = [module for module in model.modules() if isinstance(module, HeatDiffusion)]
    hooks = [layer.register_forward_pre_hook(note) for layer in layers]
    model.set_heat("auto")
    counted = counted_macs(lambda: model(*inputs))
    for hook in hooks:
        hook.remove()
    return {"macs_g": (counted - sum(ran) + sum(wanted)) / 1e9, "macs_heat_g": sum(wanted) / 1e9}


def _blur_macs(layer: HeatDiffusion, heat: HeatMode, x: Tensor) -> int:
    """Multiply-accumulates of a layer's blur in a mode; those of an FFT are not counted."""
    batch, length, channels = x.shape
    values, radius = batch * length * channels, layer.blur_radius(length, heat)
    if heat == "dense" or (radius is None and length <= blur.SHORT_SIGNAL):
        return 2 * values * length
    if radius is None:
        return 0
    making_taps = 2 * channels * (blur.GRID + 1) * (radius + 1)
    return values * (2 * radius + 1) + making_taps


def _side_by_side(settings: DolphinBench, audio_s: float) -> dict[str, dict[str, float]]:
    """Warm times of all variants in turns, and how far each is from dense (or default) fp32."""
    model = loaded(settings)
    inputs = example(settings, audio_s)
    variants = settings.variants(audio_s)
    works = {v.name: _runner(model, v, inputs, settings.device) for v in variants}
    timings = interleaved(
        works, runs=settings.runs, warm_ups=settings.warm_ups, device=settings.device
    )
    reference = works[variants[0].name]().float()
    return {
        name: {
            "latency_s": timing.median_s,
            "best_s": timing.best_s,
            "cpu_s": timing.cpu_s,
            "real_time_factor": timing.median_s / audio_s,
            "difference": _relative(works[name](), reference),
        }
        for name, timing in timings.items()
    }


def _relative(one: Tensor, other: Tensor) -> float:
    return float((one.float() - other).norm() / other.norm())
