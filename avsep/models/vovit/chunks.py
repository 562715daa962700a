"""Audio of any length as overlapping chunks of the clip length, joined by cross-fades.

Shapes: B items, N samples at 16,384 Hz, F landmark frames at 25 per second, K chunks.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from avsep.models.vovit.config import MODEL_RATE_HZ
from avsep.schema import FPS


@dataclass(frozen=True, kw_only=True)
class ChunkPlan:
    """Chunks of equal length that cover a signal.

    Attributes:
        num_samples: length of the signal, in samples at 16,384 Hz.
        clip_samples: length of a chunk, in samples.
        clip_frames: length of a chunk, in landmark frames.
        starts: first landmark frame and first sample of each chunk.
        fade_samples: length of the cross-fade between neighbouring chunks, in samples.
    """

    num_samples: int
    clip_samples: int
    clip_frames: int
    starts: tuple[tuple[int, int], ...]
    fade_samples: int


def sample_of_frame(frame: int) -> int:
    """The first sample of a landmark frame, rounded; exact every 25 frames."""
    return (frame * MODEL_RATE_HZ + FPS // 2) // FPS


def plan_chunks(
    num_samples: int, clip_samples: int, clip_frames: int, overlap_frames: int
) -> ChunkPlan:
    """Spread chunks evenly over a signal, each starting at a landmark frame.

    A chunk is one sample shorter than its landmark frames (32,767 of 32,768). If a further chunk
    were needed only for the last sample of the signal, `cross_fade` repeats the sample before it.

    Args:
        num_samples: length of the signal, in samples at 16,384 Hz.
        clip_samples: length of a chunk, in samples.
        clip_frames: length of a chunk, in landmark frames.
        overlap_frames: minimum overlap of neighbouring chunks, in landmark frames.

    Raises:
        ValueError: the signal is empty, or the overlap is more than half a chunk.
    """
    if num_samples < 1:
        raise ValueError("the mixture is empty; it needs at least one sample.")
    if not 0 <= overlap_frames <= clip_frames // 2:
        raise ValueError(
            f"overlap_frames is {overlap_frames}; it must be between 0 and {clip_frames // 2}."
        )
    # The last chunk starts at the first frame from which it reaches the end (but for one sample).
    beyond = max(0, num_samples - 1 - clip_samples)
    last = next(
        f for f in range(beyond * FPS // MODEL_RATE_HZ, num_samples) if sample_of_frame(f) >= beyond
    )
    hop = clip_frames - max(overlap_frames, 1)
    count = 1 + -(-last // hop)
    frames = [i * last // (count - 1) if count > 1 else 0 for i in range(count)]
    steps = [b - a for a, b in pairwise(frames)]
    overlap = clip_samples - sample_of_frame(max(steps)) - 1 if steps else 0
    return ChunkPlan(
        num_samples=num_samples,
        clip_samples=clip_samples,
        clip_frames=clip_frames,
        starts=tuple((frame, sample_of_frame(frame)) for frame in frames),
        fade_samples=min(overlap, clip_samples // 2),
    )


def cut_audio(audio_BN: Tensor, plan: ChunkPlan) -> Tensor:
    """(B, N) to (B, K, clip_samples), padded with zeros at the end."""
    last = plan.starts[-1][1] + plan.clip_samples
    padded = torch.nn.functional.pad(audio_BN, (0, max(0, last - audio_BN.shape[1])))
    return torch.stack([padded[:, s : s + plan.clip_samples] for _, s in plan.starts], dim=1)


def cut_frames(points_BFVD: Tensor, plan: ChunkPlan) -> Tensor:
    """(B, F, 68, D) to (B, K, clip_frames, 68, D); the last frame is repeated at the end."""
    device = points_BFVD.device
    start = torch.tensor([frame for frame, _ in plan.starts], device=device)
    index = start[:, None] + torch.arange(plan.clip_frames, device=device)
    return points_BFVD[:, index.clamp(max=points_BFVD.shape[1] - 1)]


def cross_fade(chunks_BKN: Tensor, plan: ChunkPlan) -> Tensor:
    """Cross-fade chunks (B, K, clip_samples) into one signal (B, num_samples)."""
    batch, count, clip = chunks_BKN.shape
    ramp = (torch.arange(plan.fade_samples, device=chunks_BKN.device) + 0.5) / max(
        plan.fade_samples, 1
    )
    total = max(plan.starts[-1][1] + clip, plan.num_samples)
    signal = chunks_BKN.new_zeros(batch, total)
    weights = chunks_BKN.new_zeros(total)
    for k, (_, start) in enumerate(plan.starts):
        weight = chunks_BKN.new_ones(clip)
        if k > 0:
            weight[: plan.fade_samples] = ramp
        if k < count - 1:
            weight[clip - plan.fade_samples :] = ramp.flip(0)
        signal[:, start : start + clip] += chunks_BKN[:, k] * weight
        weights[start : start + clip] += weight
    signal = signal / weights.clamp(min=1e-6)
    covered = plan.starts[-1][1] + clip
    if covered < plan.num_samples:
        signal[:, covered:] = signal[:, covered - 1 : covered]
    return signal[:, : plan.num_samples]
