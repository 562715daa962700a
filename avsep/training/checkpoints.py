"""The two checkpoints of a run, as Lightning writes them: the last step and the best validation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from avsep.errors import CheckError
from avsep.training.task import FitTask

LAST, BEST = "last.ckpt", "best.ckpt"


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint of this project; no code from it is run.

    Raises:
        CheckError: the file is missing, damaged, or of another program.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise CheckError(f"{path} is missing.") from error
    except Exception as error:  # torch raises many kinds for a damaged file
        raise CheckError(f"{path} is not a readable checkpoint: {error}") from error
    if not isinstance(content, dict) or "avsep" not in content:
        raise CheckError(f"{path} is not a checkpoint of this project.")
    return content


def load_best_average(task: FitTask, directory: Path) -> None:
    """Give `task.average` the averaged weights of the best validation.

    Raises:
        CheckError: see `read_checkpoint`; or the weights do not fit the model.
    """
    path = directory / BEST
    state = read_checkpoint(path)["state_dict"]
    prefix = "average."
    averaged = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
    try:
        task.average.load_state_dict(averaged)
    except RuntimeError as error:
        raise CheckError(f"{path} does not fit this model: {error}") from error
