"""Where the figures of a training go besides its own files: TensorBoard, W&B, MLflow.

A logger that fails is left behind with a sentence: its server must not end a training.
"""

from __future__ import annotations

import importlib.util
import os
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import lightning.pytorch as pl
from lightning.pytorch.loggers import Logger

from avsep.errors import CheckError
from avsep.files import read_json, write_json
from avsep.training.config import LOGGER_RUNS, MLFLOW_FILE, MLFLOW_FOLDER, TENSORBOARD, LoggerName
from avsep.training.ranks import rank_and_ranks

PROJECT = "avsep"


def make_loggers(names: Sequence[LoggerName], directory: Path, run: str) -> list[Logger]:
    """The loggers of a run: TensorBoard where it is installed, and those that are named.

    A run that goes on has the run of its earlier part there.

    Args:
        names: the setting `loggers`.
        directory: folder of the run.
        run: its name.

    Raises:
        CheckError: a logger is not installed, or cannot be started.
    """
    for name in names:
        if importlib.util.find_spec(name) is None:
            raise CheckError(
                f"loggers names {name}, which is not installed; install it with"
                f" `pip install 'avsep[{name}]'`, or take it out of the list."
            )
    loggers: list[Logger] = []
    if importlib.util.find_spec("tensorboard") or importlib.util.find_spec("tensorboardX"):
        from lightning.pytorch.loggers import TensorBoardLogger

        loggers.append(TensorBoardLogger(directory, name="", version=TENSORBOARD))
    if rank_and_ranks()[0] != 0:  # only the first rank touches the folder
        return loggers
    runs = read_json(directory / LOGGER_RUNS) if (directory / LOGGER_RUNS).exists() else {}
    for name in names:
        try:
            logger, runs[name] = _STARTED[name](directory, run, runs.get(name))
        except Exception as error:  # theirs have no common base
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise CheckError(f"loggers names {name}, which cannot be started: {reason}") from error
        loggers.append(logger)
    if names:
        write_json(directory / LOGGER_RUNS, runs)
    return loggers


def log_values(trainer: pl.Trainer, values: Mapping[str, float], step: int) -> None:
    """Give the figures of a step to all loggers."""
    each_logger(trainer, lambda logger: logger.log_metrics(dict(values), step=step))


def each_logger(trainer: pl.Trainer, act: Callable[[Logger], None]) -> None:
    """Do something with each logger; one that fails is left behind with a sentence."""
    kept = []
    for logger in trainer.loggers:
        try:
            act(logger)
        except Exception as error:  # theirs have no common base
            name = type(logger).__name__
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            print(f"{name} has failed and gets no more of this start: {reason}", flush=True)
        else:
            kept.append(logger)
    if len(kept) < len(trainer.loggers):
        trainer.loggers = kept


def _start_wandb(directory: Path, run: str, known: str | None) -> tuple[Logger, str]:
    from lightning.pytorch.loggers import WandbLogger

    name = known or uuid.uuid4().hex[:8]
    project = os.environ.get("WANDB_PROJECT", PROJECT)
    logger = WandbLogger(
        name=run, project=project, save_dir=directory, id=name, resume="allow", log_model=False
    )
    logger.experiment  # noqa: B018  starts it, so that what is wrong is said at once
    return logger, name


def _start_mlflow(directory: Path, run: str, known: str | None) -> tuple[Logger, str]:
    # Else it reports to its makers, also where its server is a file; it does not know `1`.
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    from lightning.pytorch.loggers import MLFlowLogger

    server = os.environ.get("MLFLOW_TRACKING_URI")
    here = directory.resolve()
    logger = MLFlowLogger(
        experiment_name=os.environ.get("MLFLOW_EXPERIMENT_NAME", PROJECT),
        run_name=run,
        tracking_uri=server or f"sqlite:///{here / MLFLOW_FILE}",
        artifact_location=None if server else (here / MLFLOW_FOLDER).as_uri(),
        run_id=known,
    )
    logger.experiment  # noqa: B018  the same
    return logger, str(logger.run_id)


_STARTED: dict[str, Callable[[Path, str, str | None], tuple[Logger, str]]] = {
    "wandb": _start_wandb,
    "mlflow": _start_mlflow,
}
