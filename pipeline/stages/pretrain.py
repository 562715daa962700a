"""pretrain: train Dolphin's lip encoder (DP-LipCoder) on the lips and speech of the train split.

The stage starts a child process, which goes on from its last checkpoint when it is started again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from avsep.models.dolphin.train_config import LipCoderTrainConfig
from avsep.outcome import Outcome
from avsep.progress import Progress
from avsep.training.config import RunSettings
from avsep.workspace import Workspace
from pipeline.execution.run_identity import identify
from pipeline.execution.stage import Batch, Stage, StageReport
from pipeline.execution.training_run import (
    digests,
    finish_run,
    init_digest,
    require,
    train_in_child,
    training_batch,
)

NAME = "pretrain"
ITEM = "lipcoder"
VERSION = 1  # of the lip encoder's code; increase it when the same settings give other weights


@dataclass(frozen=True, kw_only=True)
class PretrainConfig(RunSettings):
    """How the lip encoder is pretrained.

    Attributes:
        lipcoder: see `LipCoderTrainConfig`; `size` and `overrides` must be those of
            `train.dolphin`.
    """

    lipcoder: LipCoderTrainConfig = field(default_factory=LipCoderTrainConfig)


def plan(config: PretrainConfig, workspace: Workspace) -> list[Batch]:
    """One batch with one item.

    Raises:
        CheckError: the shards are missing, or have no clip to train or to validate by.
    """
    from avsep.loading.usable_rows import usable_rows
    from avsep.shards.store import ShardStore

    inputs = require({workspace.shards / "manifest.json": "extract"})
    store = ShardStore(workspace.shards)
    for split in ("train", "val"):
        usable_rows(store, split, config.lipcoder.fit.num_frames)
    identity = identify(
        config,
        config.lipcoder,
        stage=NAME,
        name=ITEM,
        model_version=VERSION,
        inputs=digests(workspace, inputs) | init_digest(workspace, config.lipcoder.init, ITEM),
    )
    return [training_batch(ITEM, identity)]


def work(
    config: PretrainConfig, workspace: Workspace, batch: Batch, progress: Progress
) -> list[Outcome]:
    """Pretrain in a child process, or go on with a training that was interrupted."""
    return train_in_child(workspace, NAME, batch, config, progress)


def finish(
    config: PretrainConfig,
    workspace: Workspace,
    batches: Sequence[Batch],
    outcomes: Sequence[Outcome],
) -> StageReport:
    """Publish the encoder with its card, checkpoints, logs and metrics."""
    return finish_run(workspace, NAME, ITEM, workspace.lipcoder, outcomes)


def train_here(config: PretrainConfig, workspace: Workspace, directory: Path) -> None:
    """Pretrain in this process (one rank of possibly several).

    Raises:
        CheckError: an input is missing or damaged, or the training does not get on.
    """
    from avsep.models.dolphin.pretrain import pretrain_lipcoder
    from avsep.shards.store import ShardStore
    from avsep.training.loaders import cache_bytes
    from avsep.training.process import set_up_process
    from avsep.weights.initial import find_initial

    set_up_process(
        seed=config.seed, threads=config.threads, device=config.device,
        deterministic=config.deterministic,
    )  # fmt: skip
    store = ShardStore(workspace.shards, cache_bytes=cache_bytes(config))
    init = config.lipcoder.init
    start = find_initial(init, ITEM, workspace.root) if init else None
    pretrain_lipcoder(config.lipcoder, config, store, directory, start)


STAGE = Stage(
    NAME,
    PretrainConfig,
    plan,
    work,
    finish,
    resumes=True,
    trains=ITEM,
    purpose="train Dolphin's lip encoder",
)
