"""Launches, bytes and host waits of the full-size models on a GPU: `avsep bench launches`.

Counted without a GPU, see `launch_counter`. A forward pass is counted the second time, when the
filters of the heat layers are kept; a training step is the product's: forward and backward pass,
clipping, fused Adam and the averaged weights. The two waits of a step that the training itself
makes, for the loss and for the range of the diffusivities, lie outside the model and are not
counted.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from avsep.bench.models.dolphin import draw_active_weights
from avsep.bench.models.launch_counter import Launches, counted_launches
from avsep.models.dolphin.config import DolphinConfig
from avsep.models.dolphin.model import Dolphin
from avsep.models.vovit.config import VoViTConfig
from avsep.models.vovit.inputs import Clips
from avsep.models.vovit.model import VoViT
from avsep.models.vovit.targets import stage1_loss
from avsep.schema import FPS, RATE_HZ
from avsep.training.ema import WeightAverage
from avsep.training.losses import negative_snr

MODELS = ("dolphin", "vovit")
COLUMNS = {
    "model": "model",
    "pass": "pass",
    "batch": "batch",
    "launches": "launches",
    "gigabytes": "GB moved",
    "host_waits": "host waits",
}


def count_launches(model: str, *, seconds: float = 2.0, batch: int = 8) -> list[dict[str, Any]]:
    """One row for a forward pass of one item, one for a training step; as in `COLUMNS`.

    Args:
        model: one of `MODELS`.
        seconds: length of the audio, in seconds; VoViT takes clips of 2 s.
        batch: items of the training step.

    Raises:
        ValueError: an unknown model, or a size below the smallest.
    """
    if model not in MODELS:
        raise ValueError(f"the model is {model!r}; it may be {', '.join(MODELS)}.")
    if seconds < 1 / FPS or batch < 1:
        raise ValueError(f"{seconds:g} s and batch {batch}: give at least 0.04 s and a batch of 1.")
    forward, step = _dolphin(seconds, batch) if model == "dolphin" else _vovit(batch)
    counted_launches(forward)
    rows = [("forward", 1, counted_launches(forward)), ("training step", batch, step())]
    return [
        {
            "model": model,
            "pass": name,
            "batch": items,
            "launches": counted.total,
            "gigabytes": counted.bytes_moved / 1e9,
            "host_waits": counted.host_waits,
            "kernels": dict(counted.kernels.most_common()),
        }
        for name, items, counted in rows
    ]


Passes = tuple[Callable[[], object], Callable[[], Launches]]


def _dolphin(seconds: float, batch: int) -> Passes:
    model = draw_active_weights(Dolphin(DolphinConfig.full())).freeze_lip_encoder()
    model.plan_heat()
    model = model.to("meta").eval()

    def inputs(items: int) -> tuple[Tensor, Tensor]:
        frames = max(1, round(seconds * FPS))
        mixture = torch.empty(items, round(seconds * RATE_HZ), device="meta")
        return mixture, torch.empty(items, 1, frames, 88, 88, device="meta")

    def forward() -> None:
        with torch.inference_mode():
            model(*inputs(1))

    def loss() -> Tensor:
        mixture, lips = inputs(batch)
        return negative_snr(model(mixture, lips).squeeze(1), torch.empty_like(mixture))

    return forward, lambda: _training_step(model, loss)


def _vovit(batch: int) -> Passes:
    model = VoViT(VoViTConfig.full("speech-s1")).to("meta").eval()
    sizes = model.config.spectrum

    def inputs(items: int) -> tuple[Tensor, Tensor]:
        mixture = torch.empty(items, sizes.clip_samples, device="meta")
        return mixture, torch.empty(items, sizes.clip_video_frames, 68, 2, device="meta")

    def forward() -> None:
        with torch.inference_mode():
            model.network(*inputs(1))

    def loss() -> Tensor:
        mixture, points = inputs(batch)
        return stage1_loss(model, Clips(mixture, torch.empty_like(mixture), points)).value

    return forward, lambda: _training_step(model, loss)


def _training_step(model: nn.Module, loss: Callable[[], Tensor]) -> Launches:
    model.train()
    average = WeightAverage(model, 0.999)
    weights = [p for p in model.parameters() if p.requires_grad]
    moments = [[torch.empty_like(p, requires_grad=False) for p in weights] for _ in range(2)]
    steps = [torch.empty((), device="meta") for _ in weights]

    def step() -> None:
        loss().backward()
        with torch.no_grad():
            trained = [(p, p.grad) for p in weights if p.grad is not None]
            grads = [grad for _, grad in trained]
            norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(grads)))
            torch._foreach_mul_(grads, (5.0 / (norm + 1e-6)).clamp(max=1.0))
            # PyTorch's own clipping and optimisers refuse meta tensors.
            torch._fused_adam_(
                [p for p, _ in trained], grads, moments[0][: len(trained)],
                moments[1][: len(trained)], [],
                steps[: len(trained)], lr=1e-3, beta1=0.9, beta2=0.999, weight_decay=0.0, eps=1e-8,
                amsgrad=False, maximize=False,
            )  # fmt: skip
        average.update(model, 0)

    return counted_launches(step)
