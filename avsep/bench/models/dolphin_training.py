"""Cost of Dolphin's training step, and of the backward pass of its heat layer."""

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
    build_model,
    random_inputs,
    with_speedup,
)
from avsep.bench.timing import interleaved
from avsep.machine import memory_mb, synchronise
from avsep.models.dolphin import blur
from avsep.models.dolphin.heat import HeatDiffusion
from avsep.training.losses import negative_snr

BATCH, LENGTH_S = 2, 2.0
HEAT_SHAPE = (2, 8000, 128)  # shape of a heat layer's input in this step
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


def bench_steps(settings: DolphinBench) -> list[dict[str, Any]]:
    """A training step of each variant: time in turns, memory in a fresh process each."""
    timed = settings.in_child(_time_steps)
    rows = [
        {"variant": v.name, **settings.in_child(_step_memory, v), **timed[v.name]} for v in VARIANTS
    ]
    return [with_speedup(row, rows, "step_s") for row in rows]


def bench_heat(settings: DolphinBench) -> list[dict[str, Any]]:
    """Forward and backward time of the blurs and of a whole heat layer."""
    return settings.in_child(_time_heat)


# --- in a child process


def _stepper(settings: DolphinBench) -> Callable[[Variant], None]:
    """One training step of a variant: frozen lip encoder, negative SNR, Adam."""
    model = build_model(settings).freeze_lip_encoder().train()
    mixture, lips = random_inputs(settings, LENGTH_S, BATCH)
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


def _time_steps(settings: DolphinBench) -> dict[str, dict[str, float]]:
    step = _stepper(settings)
    timings = settings.time({v.name: partial(step, v) for v in VARIANTS})
    return {name: {"step_s": t.median_s, "cpu_s": t.cpu_s} for name, t in timings.items()}


def _step_memory(settings: DolphinBench, variant: Variant) -> dict[str, float]:
    step = _stepper(settings)
    for _ in range(2):  # the first step creates the optimizer's state
        step(variant)
    synchronise(settings.device)
    return {"peak_memory_mb": memory_mb("peak", settings.device)}


def _time_heat(settings: DolphinBench) -> list[dict[str, Any]]:
    """Forward and backward time of the blurs, and of a whole heat layer, in a training step."""
    settings.prepare()
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
        inputs = [x, *layer.parameters()] if name.startswith("whole") else [x, layer.k]
        timings = interleaved(
            {
                "forward": way,
                "backward": partial(torch.autograd.grad, out, inputs, probe, retain_graph=True),
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
