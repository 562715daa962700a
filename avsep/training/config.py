"""The settings that all trainings share. Light: the command line reads them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from avsep.errors import CheckError
from avsep.loading.config import AugmentConfig
from avsep.validation import check_at_least, check_positive

ScheduleName = Literal["constant", "cosine", "plateau"]
PrecisionName = Literal["auto", "fp32", "tf32", "bf16", "fp16"]
DeviceName = Literal["auto", "cpu", "cuda"]
OptimizerName = Literal["adam", "adamw", "sgd"]
SizeName = Literal["demo", "full"]
LoggerName = Literal["wandb", "mlflow"]
FindName = Literal["", "lr", "batch"]

VERSION = 1  # of loading and training; increase it when the same settings give other weights
# What stays in the work folder of a run: it holds times, or serves only to go on.
STEP_TIMES = "step_times.json"  # how long the steps take
STEP_LOG = "steps.csv"  # one row per step
TENSORBOARD = "tensorboard"  # a folder of event files
ENDED = "ended.json"  # why the training stopped
PREVIOUS = "previous.ckpt"  # the checkpoint before the last one
DAMAGED = "damaged.ckpt"  # a last checkpoint that could not be read
SAMPLES = "samples"  # a folder of sounds and pictures
LOGGER_RUNS = "loggers.json"  # the names of the run at W&B and MLflow
MLFLOW_FILE, MLFLOW_FOLDER = "mlflow.db", "mlruns"
WORK_ONLY = (
    *(STEP_TIMES, STEP_LOG, TENSORBOARD, ENDED, PREVIOUS, DAMAGED, SAMPLES, LOGGER_RUNS),
    *("wandb", MLFLOW_FILE, MLFLOW_FOLDER),
)


@dataclass(frozen=True, kw_only=True)
class RunSettings:
    """The machine and the seed of a training run, whatever is trained.

    Attributes:
        seed: seed of the weights, mixtures, augmentation and dropout.
        precision: number format. `fp32` is full float32; `tf32` (GPUs alone) computes products in
            TF32; `bf16` and `fp16` (GPUs alone) are mixed precision. `auto` times a few steps of
            fp32, bf16 and, on a GPU, tf32, and takes what is clearly faster.
        deterministic: on GPUs, only kernels that give the same bits each time, which are slower.
            CPUs compute so in any case.
        device: `auto` uses a GPU if there is one.
        devices: number of processes, one per GPU. On a CPU, two processes of one thread train a
            small model faster than one process of two threads: most of its operations are too
            short to share.
        threads: threads per process on the CPU; 0 means one per core, or one if there are several
            processes.
        workers: processes per device that load items, and up to four more for validation; 0 loads
            them in the training process. None for what the machine suggests: with GPUs the cores of
            each but one, 16 at most; 0 on a CPU, where training uses all cores.
        cache_mb: memory for decoded clips per device, in MiB, which its loading processes share
            out equally; 0 turns the cache off.
        loggers: `wandb` and `mlflow`, besides the files of the run; their extras must be installed.
        find: instead of training, find a learning rate or a batch size; set by the command line.
    """

    DECIDES_NOTHING: ClassVar[tuple[str, ...]] = (
        "deterministic", "device", "devices", "threads", "workers", "cache_mb", "loggers", "find",
    )  # fmt: skip
    """Settings that may change while a run goes on; the devices at equal items per step."""

    seed: int = 0
    precision: PrecisionName = "auto"
    deterministic: bool = False
    device: DeviceName = "auto"
    devices: int = 1
    threads: int = 0
    workers: int | None = None
    cache_mb: int = 1024
    loggers: tuple[LoggerName, ...] = ()
    find: FindName = ""

    def __post_init__(self) -> None:
        check_at_least(self, 1, "devices")
        check_at_least(self, 0, "seed", "threads", "workers", "cache_mb")


@dataclass(frozen=True, kw_only=True)
class FitSettings:
    """How the weights of one model are fitted.

    Attributes:
        steps: number of optimiser steps; a multiple of `val_every`, so that each run ends with a
            validation and a checkpoint. A run may be given more of them later.
        val_every: steps between validations; a checkpoint is written after each.
        batch: training items that each device computes at once.
        accumulate: such batches per step on each device, one after the other: the gradient is that
            of `batch` x `accumulate` items, in the memory of `batch`. Batch norm and codebooks
            still see `batch` items at a time.
        seconds: length of a training item, in seconds; a multiple of 0.04.
        optimizer: `adam`, `adamw` (decoupled weight decay) or `sgd` (momentum 0.8).
        lr: peak learning rate.
        schedule: `constant`; `cosine` down to 1 % of the peak; `plateau` halves the rate when the
            validation score has not risen for `plateau_patience` validations.
        warmup: steps of linear rise at the start.
        plateau_patience: patience of the schedule `plateau`, in validations.
        weight_decay: weight decay of the optimiser.
        clip: largest norm of the gradient; 0 for no limit.
        ema: decay of the averaged weights, which are validated and exported; 0 for none.
        patience: validations without a better score before training stops; 0 for never.
        max_minutes: each start of the training stops after this time; 0 for no limit. The same
            command goes on with the next item.
        checkpoint_minutes: minutes between the checkpoints in the middle of an epoch, besides
            those after each validation; 0 for none.
        samples_every: validations between samples of what the model makes of the first items of the
            validation list, see `avsep.training.samples`; 0 for none.
        max_skipped: number of non-finite steps that are skipped before the run stops with an error.
    """

    DECIDES_NOTHING: ClassVar[tuple[str, ...]] = (
        "steps", "batch", "accumulate", "patience", "max_minutes", "checkpoint_minutes",
        "samples_every", "max_skipped",
    )  # fmt: skip
    """Settings that may change while a run goes on; the batch at equal items per step.

    Batch norm and codebooks see a part of a step at a time, so with them another `batch` at equal
    items changes what is learned a little.
    """

    steps: int = 1000
    val_every: int = 100
    batch: int = 8
    accumulate: int = 1
    seconds: float = 2.0
    optimizer: OptimizerName = "adam"
    lr: float = 1e-3
    schedule: ScheduleName = "cosine"
    warmup: int = 0
    plateau_patience: int = 10
    weight_decay: float = 0.0
    clip: float = 5.0
    ema: float = 0.0
    patience: int = 0
    max_minutes: float = 0.0
    checkpoint_minutes: float = 10.0
    samples_every: int = 0
    max_skipped: int = 5

    def __post_init__(self) -> None:
        check_at_least(self, 1, "steps", "val_every", "batch", "accumulate", "max_skipped")
        check_at_least(self, 0.04, "seconds")  # one video frame
        check_positive(self, "lr")
        check_at_least(self, 0, "warmup", "plateau_patience", "weight_decay", "clip")
        check_at_least(self, 0, "patience", "max_minutes", "checkpoint_minutes", "samples_every")
        if not 0 <= self.ema < 1:
            raise ValueError(f"ema is {self.ema:g}; it must be at least 0 and below 1.")
        if self.steps % self.val_every:
            raise ValueError(
                f"steps is {self.steps}; it must be a multiple of val_every ({self.val_every}), so"
                " that the run ends with a validation."
            )

    @property
    def num_frames(self) -> int:
        """Length of a training item in video frames (25 per second)."""
        return round(self.seconds * 25)

    def items_per_step(self, devices: int) -> int:
        """Training items of one step on all devices together; it decides what is learned."""
        return self.batch * self.accumulate * devices


def share_of_step(items: int, batch: int, num_ranks: int) -> tuple[int, int]:
    """How the items of a step are shared out over ranks.

    Args:
        items: of one step, on all ranks together.
        batch: largest number of items that a rank computes at once.
        num_ranks: number of ranks.

    Returns:
        The items of each rank, and the number of equal parts that it computes them in.

    Raises:
        CheckError: the ranks cannot take equal shares.
    """
    share, rest = divmod(items, num_ranks)
    if rest or not share:
        raise CheckError(
            f"a step has {items} items (fit.batch x fit.accumulate x devices), which {num_ranks}"
            " processes cannot share equally; start another number of processes, or change these"
            " settings."
        )
    return share, next(n for n in range(-(-share // batch), share + 1) if share % n == 0)


@dataclass(frozen=True, kw_only=True)
class ModelTrainConfig:
    """What every model's section of `params.yaml` has.

    Attributes:
        size: `demo` (small, for two CPU cores) or `full` (the published sizes).
        init: weights to start from: `released` for those of the authors, which `avsep weights` has
            downloaded or imported; the path of a model's folder, card or weights, relative to the
            project; empty for random ones.
        overrides: changes to the network's config, nested as it is, e.g. `{channels: 48}`.
        fit: how the weights are fitted.
        augment: how training items are changed.
    """

    FULL: ClassVar[Mapping[str, Any]] = {}
    """What `size: full` sets where `params.yaml` does not."""

    size: SizeName = "demo"
    init: str = ""
    overrides: dict[str, Any] = field(default_factory=dict)
    fit: FitSettings = field(default_factory=FitSettings)
    augment: AugmentConfig = field(default_factory=AugmentConfig)

    @classmethod
    def defaults(cls, values: Mapping[str, Any]) -> Mapping[str, Any]:
        """The defaults under a section of `params.yaml`, see `avsep.settings.build`."""
        return cls.FULL if values.get("size") == "full" else {}
