"""The settings of Dolphin's two trainings. Light: the command line reads them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from avsep.loading.config import AugmentConfig
from avsep.models.dolphin.config import DolphinConfig
from avsep.settings import with_overrides
from avsep.training.config import FitSettings, ModelTrainConfig
from avsep.validation import check_at_least


@dataclass(frozen=True, kw_only=True)
class LipCoderTrainConfig(ModelTrainConfig):
    """Pretraining of the lip encoder; size and overrides are those of the whole Dolphin.

    Attributes:
        recon_weight: weight of the mean squared error of the rebuilt lips.
        commit_weight: weight of the distance between the encoder's output and the code it takes.
        distill_weight: weight of the distance between the mapped codes and the teacher.
        distill: distance to the teacher: mean squared error, or one minus the cosine.
    """

    FULL: ClassVar[Mapping[str, Any]] = {
        "augment": {"crop": True, "flip": 0.5},
        "fit": {
            "steps": 100_000, "val_every": 2500, "batch": 8, "seconds": 2.0, "lr": 1e-3,
            "warmup": 1000, "schedule": "cosine",
        },
    }  # fmt: skip

    recon_weight: float = 1.0
    commit_weight: float = 1.0
    distill_weight: float = 1.0
    distill: Literal["mse", "cosine"] = "mse"
    fit: FitSettings = field(
        default_factory=lambda: FitSettings(steps=200, val_every=50, seconds=1.0)
    )
    augment: AugmentConfig = field(default_factory=lambda: AugmentConfig(crop=True, flip=0.5))

    def __post_init__(self) -> None:
        check_at_least(self, 0, "recon_weight", "commit_weight", "distill_weight")


@dataclass(frozen=True, kw_only=True)
class DolphinTrainConfig(ModelTrainConfig):
    """Training of the separator on a pretrained lip encoder.

    Attributes:
        init_part: what is taken of the model that `init` names: `all`, or `lip_encoder`; of a
            `lipcoder` it is always the latter. With `init`, nothing is pretrained.
        paired: each training mixture is seen twice in a batch, once with each voice as target.
        scale_invariant: use negative SI-SDR as loss instead of negative SNR.
        train_lip_encoder: train the lip encoder too instead of freezing it.
        cached_views: number of views of each training clip (cut, mirrored and lit differently)
            whose lip features are kept, instead of computing them at each visit; 0 keeps none. On
            a CPU the lip encoder costs as much as a small separator.
    """

    # Adam at 1e-3, no weight decay, clip 5 and a rate that halves on a plateau are those of the
    # authors' earlier published trainer; batch and steps are ours.
    FULL: ClassVar[Mapping[str, Any]] = {
        "cached_views": 0,
        "augment": {"crop": True, "flip": 0.5},
        "fit": {
            "steps": 400_000, "val_every": 2500, "batch": 4, "seconds": 2.0, "lr": 1e-3,
            "schedule": "plateau", "plateau_patience": 10, "patience": 20,
        },
    }  # fmt: skip

    init_part: Literal["all", "lip_encoder"] = "all"
    paired: bool = True
    scale_invariant: bool = False
    train_lip_encoder: bool = False
    cached_views: int = 4

    def __post_init__(self) -> None:
        check_at_least(self, 0, "cached_views")
        if self.cached_views and self.train_lip_encoder:
            raise ValueError(
                "cached_views needs a frozen lip encoder; set one of cached_views and"
                " train_lip_encoder to 0."
            )


def network_config(config: LipCoderTrainConfig | DolphinTrainConfig) -> DolphinConfig:
    """The sizes of the Dolphin that a training asks for.

    Raises:
        UsageError: an unknown override, or a value that the network's config refuses.
    """
    base = DolphinConfig.full() if config.size == "full" else DolphinConfig.demo()
    return with_overrides(base, config.overrides, "overrides")
