"""The settings that every training has in common. Light: the command line reads it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

ScheduleName = Literal["constant", "cosine", "plateau"]
PrecisionName = Literal["auto", "fp32", "bf16", "fp16"]
DeviceName = Literal["auto", "cpu", "cuda"]
TENSORBOARD = "tensorboard"  # folder of its event files in the work folder of a run
OptimizerName = Literal["adam", "adamw", "sgd"]


@dataclass(frozen=True, kw_only=True)
class RunSettings:
    """What every training run has in common, whatever is trained.

    Attributes:
        seed: of weights, mixtures, augmentation and dropout.
        precision: `auto` times a few steps in fp32 and bf16 on the machine at hand and takes bf16
            where it is clearly faster.
        device: `auto` takes a GPU where there is one.
        devices: processes, one a GPU. On a CPU, two processes of one thread train a small model
            faster than one process of two threads: most of its operations are too short to share.
        threads: of each process on the CPU; 0 for one a core, or for one if there are several
            processes.
        workers: processes that load items; 0 loads in the training process.
        cache_mb: of decoded clips that each loading process keeps in memory.
    """

    seed: int = 0
    precision: PrecisionName = "auto"
    device: DeviceName = "auto"
    devices: int = 1
    threads: int = 0
    workers: int = 0
    cache_mb: int = 1024

    def __post_init__(self) -> None:
        for name, least in (("seed", 0), ("devices", 1), ("threads", 0), ("workers", 0)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be at least {least}.")
        if self.cache_mb < 0:
            raise ValueError(f"cache_mb is {self.cache_mb}; 0 turns the cache off.")


@dataclass(frozen=True, kw_only=True)
class FitSettings:
    """How one model is fitted.

    Attributes:
        steps: optimiser steps in all; a multiple of `val_every`, so that each run ends with a
            validation and a checkpoint.
        val_every: steps between validations; a checkpoint is written after each.
        batch: training items a step on each device.
        seconds: length of a training item, in seconds; a multiple of 0.04.
        optimizer: `adam`, `adamw` (decoupled weight decay) or `sgd` (momentum 0.8).
        lr: peak learning rate.
        schedule: `constant`; `cosine` down to 1 % of the peak; `plateau` halves the rate when the
            validation score has not risen for `plateau_patience` validations.
        warmup: steps of linear rise at the start.
        plateau_patience: in validations, for `plateau`.
        weight_decay: of the optimiser.
        clip: largest norm of the gradient; 0 for no limit.
        ema: decay of the averaged weights, which are validated and exported; 0 for none.
        patience: validations without a better score before training stops; 0 for never.
        max_minutes: training stops after this time; 0 for no limit. A run that is cut by time
            cannot be reproduced exactly.
        max_skipped: non-finite steps that are skipped before the run stops with an error.
    """

    steps: int = 1000
    val_every: int = 100
    batch: int = 8
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
    max_skipped: int = 5

    def __post_init__(self) -> None:
        for name in ("steps", "val_every", "batch", "max_skipped"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be at least 1.")
        if self.steps % self.val_every:
            raise ValueError(
                f"steps is {self.steps}, no multiple of val_every ({self.val_every});"
                " choose steps so that the run ends with a validation."
            )
        if self.seconds < 0.04:
            raise ValueError(f"seconds is {self.seconds:g}; one video frame is 0.04 s.")
        if self.lr <= 0:
            raise ValueError(f"lr is {self.lr:g}; it must be above 0.")
        if not 0 <= self.ema < 1:
            raise ValueError(f"ema is {self.ema:g}; it must lie in 0 <= ema < 1.")
        for name in (
            "warmup",
            "plateau_patience",
            "weight_decay",
            "clip",
            "patience",
            "max_minutes",
        ):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is {getattr(self, name)}; it must not be negative.")

    @property
    def num_frames(self) -> int:
        """Length of a training item in video frames (25 a second)."""
        return round(self.seconds * 25)

    @property
    def rounds(self) -> int:
        """Number of validations; Lightning's epochs are these rounds."""
        return self.steps // self.val_every
