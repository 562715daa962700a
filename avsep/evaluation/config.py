"""The settings of an evaluation; importing them loads neither torch nor numpy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from avsep.damage import parse_damage
from avsep.models.registry import MODELS
from avsep.validation import (
    check_at_least,
    check_choice,
    check_not_empty,
    check_positive,
    check_share,
)

BASIC = ("own", "other", "none")  # conditions that damage nothing
PerceptualName = Literal["pesq", "stoi", "estoi"]
QualityName = Literal["dnsmos", "nisqa"]
MIXTURE = "mixture"  # takes the place of a condition's name for the unprocessed mixture


@dataclass(frozen=True, kw_only=True)
class EvaluateConfig:
    """How a model is evaluated.

    Attributes:
        model: name of the model, see `avsep.models.registry`; the command line sets it.
        runs: the folder with the trained models, such as `data/runs` of another project; relative
            to the project, or absolute; the models of this project if empty.
        split: the split whose list of mixtures is used.
        conditions: what the model sees and hears: the wanted speaker's `own` video, the `other`
            speaker's, `none`, or the own one and a damage to it or to the sound with its severity,
            such as `covered@0.5` or `reverberant@0.6`; see `avsep.visual_damage` and
            `avsep.sound_damage`. Under a damage only SI-SNR is computed, unless
            `perceptual_conditions` names it.
        max_mixtures: number of mixtures to evaluate, spread evenly over the list; 0 for all.
        sdr: whether BSS-eval SDR is computed, and SIR where the perceptual metrics are.
        perceptual: the perceptual metrics to compute; they are slow.
        perceptual_conditions: the conditions they are computed for. The unprocessed mixture is
            always scored too.
        bootstrap_samples: number of resamples per confidence interval.
        seed: seed of the bootstrap.
        example_count: number of mixtures whose sounds and lips are kept for the report.
        batch: number of estimates that the model computes at a time; 0 for 16 on a GPU and 8 on a
            CPU.
        mixtures_per_batch: mixtures per unit of work; a killed run repeats at most one unit.
        device: `cpu`, `cuda`, or `auto` for a GPU where there is one.
        threads: PyTorch's threads on the CPU; 0 leaves its default.
        workers: processes that compute the metrics; None for one per core, 0 for none.
        timeout_s: limit for the metrics of one estimate, in seconds.
        cost: whether parameters, MACs, latency and memory are measured.
        cost_audio_s: length of the audio they are measured on, in seconds.
        cost_runs: number of warm runs.
        cost_timeout_s: limit for the whole measurement, in seconds.
        recordings: a folder of recorded mixtures, see `avsep.evaluation.recordings`; relative to
            the project, or absolute; none if empty. They are scored beside the listed mixtures.
        quality: measures without a reference for the recordings; they need the extra `quality`.
        max_failed_share: the stage fails if a larger share of mixtures and recordings fails.
    """

    model: str = ""
    runs: str = ""
    split: Literal["test", "val"] = "test"
    conditions: tuple[str, ...] = BASIC
    max_mixtures: int = 0
    sdr: bool = True
    perceptual: tuple[PerceptualName, ...] = ("pesq", "stoi", "estoi")
    perceptual_conditions: tuple[str, ...] = ("own",)
    bootstrap_samples: int = 2000
    seed: int = 0
    example_count: int = 3
    batch: int = 0
    mixtures_per_batch: int = 25
    device: Literal["auto", "cpu", "cuda"] = "auto"
    threads: int = 0
    workers: int | None = None
    timeout_s: float = 60.0
    cost: bool = True
    cost_audio_s: float = 2.0
    cost_runs: int = 5
    cost_timeout_s: float = 600.0
    recordings: str = ""
    quality: tuple[QualityName, ...] = ()
    max_failed_share: float = 0.0

    def __post_init__(self) -> None:
        if self.model:
            check_choice(self, MODELS, "model")
        check_not_empty(self, "conditions")
        if self.quality and not self.recordings:
            raise ValueError("quality is for recordings, and there are none; set recordings too.")
        _check_conditions("perceptual_conditions", self.perceptual_conditions)
        # Two spellings of one severity would be one figure: `covered` and `covered@1.0`.
        if len(_check_conditions("conditions", self.conditions)) < len(self.conditions):
            raise ValueError("conditions names one of them twice.")
        check_at_least(self, 1, "mixtures_per_batch", "bootstrap_samples", "cost_runs")
        check_at_least(
            self, 0, "batch", "max_mixtures", "example_count", "threads", "seed", "workers"
        )
        check_positive(self, "timeout_s", "cost_timeout_s", "cost_audio_s")
        check_share(self, "max_failed_share")

    def metrics_for(self, condition: str) -> tuple[str, ...]:
        """The metrics of an estimate under `condition`, or of the unprocessed mixture.

        Args:
            condition: one of `conditions`, or `MIXTURE`.
        """
        if condition not in (*BASIC, MIXTURE, *self.perceptual_conditions):
            return ("si_snr",)
        slow = condition == MIXTURE or condition in self.perceptual_conditions
        bss_eval = ("sdr", "sir") if slow else ("sdr",)
        return ("si_snr", *(bss_eval if self.sdr else ()), *(self.perceptual if slow else ()))


def _check_conditions(setting: str, names: Sequence[str]) -> set[object]:
    """The conditions as what they mean: damages by kind and severity."""
    try:
        return {name if name in BASIC else parse_damage(name) for name in names}
    except ValueError as error:
        raise ValueError(f"{setting}: {error} Or own, other, none.") from error
