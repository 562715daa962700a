"""The settings of `evaluate`. Light: the command line reads them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

MODELS = ("dolphin", "vovit-s1", "vovit")

ConditionName = Literal["own", "other", "none"]
PerceptualName = Literal["pesq", "stoi", "estoi"]


@dataclass(frozen=True, kw_only=True)
class EvaluateConfig:
    """How models are evaluated.

    Attributes:
        model: `dolphin`, `vovit-s1` or `vovit`; set by the command line.
        split: whose list of mixtures is used.
        conditions: whose video the model sees: the wanted speaker's, the other speaker's, none.
        max_mixtures: so many mixtures, evenly over the list; 0 for all.
        sdr: whether BSS-eval SDR is computed.
        perceptual: which of the slow metrics are computed.
        perceptual_conditions: for which conditions they are computed.
        bootstrap_samples: draws for each confidence interval.
        seed: of the bootstrap.
        example_count: mixtures kept with sounds and lips, for the report.
        batch: estimates at a time in the model.
        mixtures_per_batch: mixtures in a unit of work; a killed run repeats at most one.
        device: `auto` takes a GPU where there is one.
        threads: of PyTorch on the CPU; 0 leaves its default.
        workers: processes for the metrics; None for one a core, 0 for none.
        timeout_s: limit for the metrics of one estimate.
        cost: whether parameters, MACs, latency and memory are measured.
        cost_audio_s: length of the sound they are measured with, in seconds.
        cost_runs: warm runs.
        cost_timeout_s: limit for the whole measurement.
        max_failed_share: of mixtures, above which the stage fails.
    """

    model: str = ""
    split: Literal["test", "val"] = "test"
    conditions: tuple[ConditionName, ...] = ("own", "other", "none")
    max_mixtures: int = 0
    sdr: bool = True
    perceptual: tuple[PerceptualName, ...] = ("pesq", "stoi", "estoi")
    perceptual_conditions: tuple[ConditionName, ...] = ("own",)
    bootstrap_samples: int = 2000
    seed: int = 0
    example_count: int = 3
    batch: int = 8
    mixtures_per_batch: int = 25
    device: Literal["auto", "cpu", "cuda"] = "auto"
    threads: int = 0
    workers: int | None = None
    timeout_s: float = 60.0
    cost: bool = True
    cost_audio_s: float = 2.0
    cost_runs: int = 5
    cost_timeout_s: float = 600.0
    max_failed_share: float = 0.0

    def __post_init__(self) -> None:
        if self.model and self.model not in MODELS:
            raise ValueError(f"model is {self.model!r}; it may be {', '.join(MODELS)}.")
        if not self.conditions:
            raise ValueError("conditions is empty; name at least `own`.")
        for name in ("batch", "mixtures_per_batch", "bootstrap_samples", "cost_runs"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be at least 1.")
        for name in ("max_mixtures", "example_count", "threads", "seed"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is {getattr(self, name)}; it must not be negative.")
        for name in ("timeout_s", "cost_timeout_s", "cost_audio_s"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be above 0.")
        if self.workers is not None and self.workers < 0:
            raise ValueError(f"workers is {self.workers}; it must be 0 or more, or null.")
        if not 0 <= self.max_failed_share <= 1:
            raise ValueError(f"max_failed_share is {self.max_failed_share}, not in 0..1.")
