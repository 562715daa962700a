"""A finished training as a model on disk."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import nn

from avsep import __version__
from avsep.git import git_commit
from avsep.machine import device_name, machine, versions
from avsep.models import checkpoint
from avsep.settings import as_values
from avsep.training.checkpoints import load_best_average
from avsep.training.config import ModelTrainConfig
from avsep.training.ranks import rank_and_ranks
from avsep.training.task import FitTask


def export(
    task: FitTask,
    directory: Path,
    config: ModelTrainConfig,
    *,
    family: str,
    part: Callable[[nn.Module], nn.Module] = lambda model: model,
    **facts: Any,
) -> None:
    """Write the averaged weights of the best validation and their card, on the first rank.

    Args:
        task: the training, after its fit.
        directory: folder of the run.
        config: what was asked for; kept in the card under `training`.
        family: see `avsep.models.registry`.
        part: gives the part of the trained model that is exported.
        facts: further JSON-able entries of the card.
    """
    if rank_and_ranks()[0] != 0:
        return
    load_best_average(task, directory)
    best = max(task.history, key=lambda row: row[task.monitor])
    card = {
        "family": family,
        "avsep_version": __version__,
        "git_commit": git_commit(directory),
        "seed": task.seed,
        "precision": task.precision.name,
        "machine": machine(),  # which ended the training; an earlier part may be another's
        "device": device_name(task.precision.device_type),
        "versions": versions(),
        "metrics": {name: round(value, 6) for name, value in best.items()},
        "training": as_values(config),
        **facts,
    }
    checkpoint.save(part(task.average.module), directory, card)
