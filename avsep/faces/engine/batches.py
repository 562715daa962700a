"""Run a network in batches of one size, so that no row depends on what else is in its batch."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F


def in_batches(
    network: Callable[[torch.Tensor], torch.Tensor],
    inputs: Callable[[slice], torch.Tensor],
    count: int,
    batch: int,
) -> torch.Tensor:
    """The rows that a network gives for inputs, in order.

    Libraries choose their kernels by the shape of a batch, and kernels differ in the last bits: so
    each batch has the same shape, filled up with zeros.

    Args:
        network: from (batch, ...) to (batch, ...).
        inputs: gives the inputs of a slice of rows, (n, ...).
        count: number of rows; at least 1.
        batch: number of rows per batch.
    """
    rows = []
    for first in range(0, count, batch):
        given = inputs(slice(first, min(first + batch, count)))
        missing = batch - len(given)
        padded = F.pad(given, [0, 0] * (given.ndim - 1) + [0, missing]) if missing else given
        rows.append(network(_dense(padded))[: len(given)])
    return torch.cat(rows)


def _dense(rows: torch.Tensor) -> torch.Tensor:
    """The same rows with one layout in memory: kernels are chosen by it too."""
    layout = torch.channels_last if rows.ndim == 4 else torch.contiguous_format
    return rows.contiguous(memory_format=layout)
