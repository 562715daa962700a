"""Dolphin's training step, the backward pass of its heat layer, and separation in windows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor

from avsep.bench.models.dolphin import (
    DEFAULT,
    DENSE,
    DolphinBench,
    Variant,
    child,
    compared,
    example,
    loaded,
)
from avsep.bench.timing import interleaved, time_once
from avsep.evaluation.machine import memory_mb, synchronise
from avsep.models.dolphin import blur
from avsep.models.dolphin.chunked import WindowConfig, separate_windows
from avsep.models.dolphin.heat import HeatDiffusion
from avsep.schema import FPS, LIPS_SIZE, RATE_HZ
from avsep.training.losses import negative_snr

BATCH, LENGTH_S = 2, 2.0
HEAT_SHAPE = (2, 8000, 128)  # of a heat layer's input in such a step
VARIANTS = (DENSE, DEFAULT, Variant(precision="bf16"))

STEP_COLUMNS = {
    "variant": "variant",
    "step_s": "step, s",
    "cpu_s": "CPU s",
    "peak_memory_mb": "peak memory, MiB",
    "times_faster": "times faster than dense",
    "times_faster_cpu": "the same in CPU time",
}
HEAT_COLUMNS = {
    "way": "blur",
    "forward_s": "forward, s",
    "backward_s": "backward, s",
    "ratio": "backward / forward",
    "ratio_cpu": "the same in CPU time",
}
LONG_COLUMNS = {
    "audio_s": "audio, s",
    "wall_per_s": "wall per s of audio",
    "cpu_per_s": "CPU s per s of audio",
    "peak_memory_mb": "peak memory, MiB",
}


def bench_steps(settings: DolphinBench) -> list[dict[str, Any]]:
    """A training step of each variant: time in turns, memory alone."""
    timed = child(_side_by_side, settings)
    rows = [
        {"variant": v.name, **child(_step_alone, settings, v), **timed[v.name]} for v in VARIANTS
    ]
    return [compared(row, rows, "step_s") for row in rows]


def bench_heat(settings: DolphinBench) -> list[dict[str, Any]]:
    """Forward and backward time of the blurs and of a whole heat layer."""
    return child(_heat, settings)


def bench_windows(settings: DolphinBench, audio_s: float) -> dict[str, float]:
    """Time and memory of a long recording."""
    return child(_windowed, settings, audio_s)


# --- in a child


def _stepper(settings: DolphinBench) -> Callable[[Variant], None]:
    """One training step of a variant: frozen lip encoder, negative SNR, Adam."""
    model = loaded(settings).freeze_lip_encoder().train()
    mixture, lips = example(settings, LENGTH_S, BATCH)
    target = 0.5 * mixture
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.Adam(trained, lr=1e-5)

    def step(variant: Variant) -> None:
        model.set_heat(variant.heat)
        optimizer.zero_grad()
        with variant.autocast(settings.device):
            estimate = model(mixture, lips).squeeze(1)
        negative_snr(estimate, target).backward()
        optimizer.step()

    return step


def _side_by_side(settings: DolphinBench) -> dict[str, dict[str, float]]:
    step = _stepper(settings)
    works = {v.name: partial(step, v) for v in VARIANTS}
    timings = interleaved(
        works, runs=settings.runs, warm_ups=settings.warm_ups, device=settings.device
    )
    return {name: {"step_s": t.median_s, "cpu_s": t.cpu_s} for name, t in timings.items()}


def _step_alone(settings: DolphinBench, variant: Variant) -> dict[str, float]:
    step = _stepper(settings)
    for _ in range(2):  # the optimiser's state comes with the first
        step(variant)
    synchronise(settings.device)
    return {"peak_memory_mb": memory_mb("peak", settings.device)}


def _heat(settings: DolphinBench) -> list[dict[str, Any]]:
    """Forward and backward time of the blurs, and of a whole heat layer, in a training step."""
    if settings.threads:
        torch.set_num_threads(settings.threads)
    torch.manual_seed(0)
    x = torch.randn(HEAT_SHAPE, device=settings.device, requires_grad=True)
    layer = HeatDiffusion(HEAT_SHAPE[-1], "auto", carry_unused=False).to(settings.device)
    radius = blur.filter_radius(layer.k)
    assert radius is not None
    ways: Mapping[str, Callable[[], Tensor]] = {
        "filter": lambda: blur.filtered(x, layer.k, radius),
        "fft": lambda: blur.exact(x, layer.k),
        "whole layer, auto": lambda: layer(x),
    }
    rows = []
    for name, way in ways.items():
        out = way()
        probe = torch.randn_like(out)
        wanted = [x, *layer.parameters()] if name.startswith("whole") else [x, layer.k]
        timings = interleaved(
            {
                "forward": way,
                "backward": partial(torch.autograd.grad, out, wanted, probe, retain_graph=True),
            },
            runs=max(settings.runs, 15),
            warm_ups=2,
            device=settings.device,
        )
        forward, backward = timings["forward"], timings["backward"]
        rows.append(
            {
                "way": name,
                "forward_s": forward.best_s,
                "backward_s": backward.best_s,
                "ratio": backward.best_s / forward.best_s,
                "ratio_cpu": backward.cpu_s / forward.cpu_s,
            }
        )
    return rows


def _windowed(settings: DolphinBench, audio_s: float) -> dict[str, float]:
    """Separation in windows, the pieces thrown away as they come."""
    model = loaded(settings)
    mixture = 0.1 * torch.randn(round(audio_s * RATE_HZ))
    # One picture seen again and again, so that the input's own memory does not count.
    lips = torch.randint(0, 256, (1, LIPS_SIZE, LIPS_SIZE), dtype=torch.uint8)
    lips = lips.expand(max(1, round(audio_s * FPS)), -1, -1)

    def run() -> None:
        pieces = separate_windows(model, mixture, lips)
        assert sum(len(piece) for piece in pieces) == len(mixture)

    window = WindowConfig()
    warm = slice(0, round(window.window_s * RATE_HZ))
    for _ in separate_windows(model, mixture[warm], lips[: round(window.window_s * FPS)]):
        pass
    wall_s, cpu_s = time_once(run, settings.device)
    return {
        "audio_s": audio_s,
        "wall_per_s": wall_s / audio_s,
        "cpu_per_s": cpu_s / audio_s,
        "peak_memory_mb": memory_mb("peak", settings.device),
    }
