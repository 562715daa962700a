"""Run a model over mixtures in batches: each voice under each condition."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from avsep.evaluation.conditions import condition_cues, condition_sound
from avsep.evaluation.items import EvaluationItem
from avsep.number_format import set_tf32
from avsep.schema import Cues


class SeparationModel(Protocol):
    """The interface that all model families share."""

    def estimate(self, mixture: Tensor, cues: Cues) -> Tensor:
        """The wanted voices, (B, L) float32 at 16 kHz, from mixtures (B, L) and B cues."""


@dataclass(frozen=True, kw_only=True, order=True)
class EstimateKey:
    """What identifies one estimate.

    Attributes:
        item: index of the mixture in its list.
        target: index of the wanted voice in the mixture.
        condition: what the model sees and hears, see `EvaluateConfig.conditions`.
    """

    item: int
    target: int
    condition: str


def estimate_keys(items: Sequence[EvaluationItem], conditions: Sequence[str]) -> list[EstimateKey]:
    """Each voice of each mixture under each condition, in a fixed order."""
    return [
        EstimateKey(item=index, target=target, condition=condition)
        for index, item in enumerate(items)
        for target in range(len(item.sources))
        for condition in conditions
    ]


def separate(
    model: SeparationModel,
    items: Sequence[EvaluationItem],
    keys: Sequence[EstimateKey],
    *,
    batch: int,
    device: str = "cpu",
) -> Iterator[tuple[EstimateKey, np.ndarray]]:
    """Yield each estimate, (N,) float32, with its key.

    Mixtures of unequal length never share a batch. Nothing is padded, and no incomplete batch is
    dropped.

    Args:
        model: the model in eval mode, on `device`.
        items: the mixtures.
        keys: the estimates to compute.
        batch: number of estimates per call of the model.
        device: `cpu` or `cuda`.

    Raises:
        ValueError: the model's output does not have the shape of the mixture.
    """
    by_length: dict[int, list[EstimateKey]] = {}
    for key in keys:
        by_length.setdefault(len(items[key.item].mixture), []).append(key)
    set_tf32("fp32", torch.device(device).type)
    for length in sorted(by_length):
        same = by_length[length]
        for start in range(0, len(same), batch):
            chunk = same[start : start + batch]
            mixture, cues = _stack(items, chunk, device)
            with torch.inference_mode():
                estimate = model.estimate(mixture, cues)
            if estimate.shape != mixture.shape:
                raise ValueError(
                    f"the model turned a mixture of shape {tuple(mixture.shape)} into an estimate"
                    f" of shape {tuple(estimate.shape)}; both must be equal."
                )
            yield from zip(chunk, estimate.float().cpu().numpy(), strict=True)


def _stack(
    items: Sequence[EvaluationItem], keys: Sequence[EstimateKey], device: str
) -> tuple[Tensor, Cues]:
    """The mixtures (B, N) and cues of a batch, on `device`."""

    def tensor(arrays: Sequence[Any]) -> Tensor:
        return torch.from_numpy(np.stack(arrays)).to(device)

    cues = [
        condition_cues(
            items[key.item].cues, key.target, key.condition, items[key.item].recipe.mixture_id
        )
        for key in keys
    ]
    sounds = [condition_sound(items[key.item], key.target, key.condition)[0] for key in keys]
    return tensor(sounds), Cues(
        lips=tensor([c.lips for c in cues]),
        landmarks=tensor([np.asarray(c.landmarks, np.float32) for c in cues]),
        valid=tensor([c.valid for c in cues]),
    )
