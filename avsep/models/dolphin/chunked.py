"""Separation of recordings of any length in windows, in memory that does not grow with it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from avsep.models.dolphin.model import Dolphin, prepare_lips
from avsep.schema import FPS, RATE_HZ, SAMPLES_PER_FRAME

LIP_CONTEXT = 10  # frames on either side that a lip feature depends on


@dataclass(frozen=True, kw_only=True)
class WindowConfig:
    """How a long recording is cut.

    Attributes:
        window_s: length of a window, in seconds.
        overlap_s: how long neighbouring windows share, in seconds.
        fade_s: length of the cross-fade in the middle of what they share, in seconds; what lies
            outside it has the window's edge too near and is not used.
    """

    window_s: float = 4.0
    overlap_s: float = 0.48  # 12 frames: more costs time and brings joins no nearer to one shot
    fade_s: float = 0.2

    def __post_init__(self) -> None:
        if not 0 < self.fade_s <= self.overlap_s < self.window_s:
            raise ValueError(
                f"fade {self.fade_s} s, overlap {self.overlap_s} s and window {self.window_s} s"
                " must be growing lengths above 0."
            )


def window_spans(length: int, config: WindowConfig) -> list[tuple[int, int]]:
    """First and last + 1 sample of each window over `length` samples.

    Windows start on video frames and are equally long; the last one is moved back to end with
    the recording (and is up to one video frame longer).
    """
    window = round(config.window_s * FPS) * SAMPLES_PER_FRAME
    hop = window - round(config.overlap_s * FPS) * SAMPLES_PER_FRAME
    if length <= window:
        return [(0, length)]
    last = (length - window) // SAMPLES_PER_FRAME * SAMPLES_PER_FRAME
    starts = [*range(0, last, hop), last]
    return [*((start, start + window) for start in starts[:-1]), (last, length)]


@torch.no_grad()
def separate_long(
    model: Dolphin,
    mixture: Tensor,
    lips: Tensor,
    *,
    config: WindowConfig | None = None,
    rate_hz: int = RATE_HZ,
) -> Tensor:
    """Estimate one talker's voice in a recording of any length.

    Args:
        model: in eval mode.
        mixture: (L,) float32 at 16 kHz.
        lips: (F, 96, 96) uint8 at 25 frames a second; the last frame is held if the video ends
            before the sound.
        config: windows; the defaults if None.
        rate_hz: of the mixture; must be 16000.

    Returns:
        (L,) float32 on the CPU.

    Raises:
        ValueError: wrong shape, rate, or values that are not finite.
    """
    if model.training:
        raise ValueError("the model is in training mode; call eval() first.")
    pieces = separate_windows(model, mixture, lips, config=config, rate_hz=rate_hz)
    return torch.cat(list(pieces))


@torch.no_grad()
def separate_windows(
    model: Dolphin,
    mixture: Tensor,
    lips: Tensor,
    *,
    config: WindowConfig | None = None,
    rate_hz: int = RATE_HZ,
) -> Iterator[Tensor]:
    """As `separate_long`, piece by piece as the windows are done; the pieces join to (L,)."""
    config = config or WindowConfig()
    _check(mixture, lips, rate_hz)
    fade = round(config.fade_s * RATE_HZ)
    ramp = 0.5 - 0.5 * torch.cos(torch.arange(fade) * (math.pi / fade))  # 0 up to 1
    pending = torch.zeros(0)
    done = 0  # samples given out so far
    for start, end in window_spans(len(mixture), config):
        estimate = _window(model, mixture, lips, start, end)
        if len(pending):
            shared = done + len(pending) - start
            joint = start + (shared - fade) // 2  # first sample of the cross-fade
            yield pending[: joint - done]
            old = pending[joint - done : joint - done + fade]
            new = estimate[joint - start :]
            new[:fade] = old + (new[:fade] - old) * ramp
            pending, done = new, joint
        else:
            pending = estimate
    yield pending


def _window(model: Dolphin, mixture: Tensor, lips: Tensor, start: int, end: int) -> Tensor:
    """The estimate of samples start..end, on the CPU."""
    device = next(model.parameters()).device
    first, last = start // SAMPLES_PER_FRAME, -(-end // SAMPLES_PER_FRAME)
    # The lip encoder sees some frames beyond the window, so its features do not know of it.
    before = max(first - LIP_CONTEXT, 0)
    after = min(last + LIP_CONTEXT, -(-len(mixture) // SAMPLES_PER_FRAME))
    places = torch.arange(before, after).clamp_max(len(lips) - 1)
    shown = lips[places][None].to(device)
    features = model.encode_lips(prepare_lips(shown, model.config.lip.image_size))
    features = features[:, first - before : last - before]
    part = mixture[None, start:end].to(device)
    short = max(model.config.kernel - part.shape[1], 0)
    estimate = model.separate_features(F.pad(part, (0, short)), features)
    return estimate[0, 0, : end - start].float().cpu()


def _check(mixture: Tensor, lips: Tensor, rate_hz: int) -> None:
    if rate_hz != RATE_HZ:
        raise ValueError(f"the mixture has {rate_hz} samples a second; resample to {RATE_HZ}.")
    if mixture.ndim != 1 or len(mixture) == 0:
        raise ValueError(f"mixture must be (L,) with L above 0, not {tuple(mixture.shape)}.")
    if not torch.isfinite(mixture).all():
        raise ValueError("mixture holds NaN or infinite values; drop or repair the recording.")
    if lips.ndim != 3 or len(lips) == 0 or lips.dtype != torch.uint8:
        raise ValueError(
            f"lips must be (F, 96, 96) uint8 with F above 0, not {tuple(lips.shape)} {lips.dtype}."
        )
    most = -(-len(mixture) // SAMPLES_PER_FRAME)
    if len(lips) > most:
        raise ValueError(
            f"{len(lips)} lip frames for {len(mixture)} samples: there must be at most {most};"
            " cut the video to the sound."
        )
