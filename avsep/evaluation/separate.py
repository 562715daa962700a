"""Run a separator over mixtures, in batches, for each voice and each condition."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from avsep.evaluation.conditions import Condition, condition_cues
from avsep.evaluation.items import EvaluationItem
from avsep.schema import Cues


class Separator(Protocol):
    """What both model families offer."""

    def estimate(self, mixture: Tensor, cues: Cues) -> Tensor:
        """(B, L) float32 at 16 kHz from (B, L) and cues with B items."""


@dataclass(frozen=True, kw_only=True, order=True)
class Job:
    """One estimate that is wanted.

    Attributes:
        item: index of the mixture in its list.
        target: index of the wanted voice.
        condition: whose video the model sees.
    """

    item: int
    target: int
    condition: Condition


def all_jobs(items: Sequence[EvaluationItem], conditions: Sequence[Condition]) -> list[Job]:
    """Each voice of each mixture under each condition, in a fixed order."""
    return [
        Job(item=index, target=target, condition=condition)
        for index, item in enumerate(items)
        for target in range(len(item.sources))
        for condition in conditions
    ]


def separate(
    model: Separator,
    items: Sequence[EvaluationItem],
    jobs: Sequence[Job],
    *,
    batch: int,
    device: str = "cpu",
) -> Iterator[tuple[Job, np.ndarray]]:
    """Yield each job with its estimate, (N,) float32.

    Jobs of unequal length never share a batch. The last batch is as good as the others: nothing
    is dropped or padded.

    Args:
        model: in eval mode, on `device`.
        items: the mixtures.
        jobs: what is wanted of them.
        batch: how many estimates at a time.
        device: where the model is.

    Raises:
        ValueError: the model's output has not the shape of the mixture.
    """
    by_length: dict[int, list[Job]] = {}
    for job in jobs:
        by_length.setdefault(len(items[job.item].mixture), []).append(job)
    for length in sorted(by_length):
        same = by_length[length]
        for start in range(0, len(same), batch):
            chunk = same[start : start + batch]
            mixture, cues = _stack([_inputs(items[job.item], job) for job in chunk], device)
            with torch.inference_mode():
                estimate = model.estimate(mixture, cues)
            if estimate.shape != mixture.shape:
                raise ValueError(
                    f"the model made {tuple(estimate.shape)} of a mixture of"
                    f" {tuple(mixture.shape)}; both must be equal."
                )
            yield from zip(chunk, estimate.float().cpu().numpy(), strict=True)


def _inputs(item: EvaluationItem, job: Job) -> tuple[np.ndarray, Cues]:
    return item.mixture, condition_cues(item.cues, job.target, job.condition)


def _stack(inputs: Sequence[tuple[np.ndarray, Cues]], device: str) -> tuple[Tensor, Cues]:
    def tensor(arrays: Sequence[Any]) -> Tensor:
        return torch.from_numpy(np.stack(arrays)).to(device)

    cues = [cue for _, cue in inputs]
    return tensor([mixture for mixture, _ in inputs]), Cues(
        lips=tensor([c.lips for c in cues]),
        landmarks=tensor([np.asarray(c.landmarks, np.float32) for c in cues]),
        valid=tensor([c.valid for c in cues]),
    )
