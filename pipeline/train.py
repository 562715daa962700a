"""The process that trains: `python -m pipeline.train train --model dolphin`, also under torchrun.

The stages `pretrain` and `train` start it with the settings that they wrote. By hand it reads
`params.yaml` and prepares the work folder itself; the stage then publishes what it trained.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from avsep.files import read_json
from avsep.large_imports import large_imports
from avsep.outcome import Outcome
from avsep.processes import follow_parent
from avsep.settings import build
from avsep.training.ranks import rank_and_ranks, take_ranks_of_slurm, torchrun_process
from avsep.workspace import PARAMS, Workspace
from pipeline.config import for_model, load_config
from pipeline.execution.launch import TEMP, exit_code
from pipeline.execution.training_run import (
    identity_of,
    lock_of,
    locked,
    mark_the_end,
    prepare_directory,
)
from pipeline.stages import STAGES, pretrain, train

TRAIN_HERE: dict[str, Callable[[Any, Workspace, Path], None]] = {
    pretrain.NAME: pretrain.train_here,
    train.NAME: train.train_here,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Train in this process, one rank of possibly several; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m pipeline.train")
    parser.add_argument("stage", choices=list(TRAIN_HERE))
    parser.add_argument("--root", type=Path, default=Path(), help="the folder with params.yaml")
    parser.add_argument("--model", default="", help="which one, for the stage train")
    parser.add_argument("--config", type=Path, help="settings that the stage wrote, instead")
    parser.add_argument("--find", choices=["lr", "batch"], help="try instead of training")
    parser.add_argument("--parent", type=int, default=0, help="process to end with")
    given = parser.parse_args(arguments)
    temp = os.environ.get(TEMP)
    follow_parent(given.parent or torchrun_process(), Path(temp) if temp else None)
    return exit_code(lambda: _train(given))


def _train(given: argparse.Namespace) -> None:
    take_ranks_of_slurm()
    with large_imports():
        import avsep.training.fit  # noqa: F401 brings PyTorch and Lightning
    workspace = Workspace(given.root.resolve())
    stage = STAGES[given.stage]
    train_here = TRAIN_HERE[stage.name]
    if given.config:
        config = build(stage.config, read_json(given.config)["config"], stage.name)
        train_here(config, workspace, given.config.parent)
        return
    config = for_model(stage, load_config(workspace.root / PARAMS, stage.name), given.model)
    (batch,) = stage.plan(config, workspace)
    if given.find:
        _find(given.find, config, workspace, train_here)
        return
    directory = workspace.work(stage.name) / batch.name
    if rank_and_ranks()[0] != 0:  # only the first rank touches the folder
        train_here(config, workspace, directory)
        return
    with locked(lock_of(directory), batch.name):
        prepare_directory(directory, f"{stage.name} {batch.name}", identity_of(batch), config)
        train_here(config, workspace, directory)
        mark_the_end(workspace, stage.name, batch, Outcome.done(batch.name))


def _find(
    what: str, config: Any, workspace: Workspace, train_here: Callable[[Any, Workspace, Path], None]
) -> None:
    """Print the learning rate or the batch size that short trials suggest."""
    from avsep.training.finders import FoundError

    try:
        train_here(replace(config, find=what), workspace, workspace.root)
    except FoundError as found:
        print(found, flush=True)


if __name__ == "__main__":
    sys.exit(main())
