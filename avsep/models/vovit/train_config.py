"""The settings of VoViT's two trainings. Light: the command line reads them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from avsep.models.vovit.config import VoViTConfig
from avsep.settings import with_overrides
from avsep.training.config import ModelTrainConfig


@dataclass(frozen=True, kw_only=True)
class EnhancerTrainConfig(ModelTrainConfig):
    """Training of the second stage on the frozen first one; overrides are the enhancer's.

    The network has the size of its first stage; `size` chooses the defaults of its training.

    Attributes:
        paired: each training mixture is seen twice in a batch, once with each voice as target.
    """

    FULL: ClassVar[Mapping[str, Any]] = {
        "augment": {"shift_frames": 1, "noise_px": 0.3},
        "fit": {
            "steps": 100_000, "val_every": 2000, "batch": 10, "seconds": 2.0, "lr": 1e-3,
            "schedule": "plateau", "patience": 20,
        },
    }  # fmt: skip

    paired: bool = True


@dataclass(frozen=True, kw_only=True)
class VoViTTrainConfig(ModelTrainConfig):
    """Training of the first stage; `fit.seconds` must be the length of a VoViT clip, 2.

    Attributes:
        paired: each training mixture is seen twice in a batch, once with each voice as target.
    """

    # SGD at 0.01 with batch 10 is the published recipe of VoViT's predecessor.
    FULL: ClassVar[Mapping[str, Any]] = {
        "augment": {"shift_frames": 1, "noise_px": 0.3},
        "fit": {
            "steps": 400_000, "val_every": 2000, "batch": 10, "seconds": 2.0, "optimizer": "sgd",
            "lr": 1e-2, "weight_decay": 1e-5, "schedule": "constant", "patience": 40,
        },
    }  # fmt: skip

    paired: bool = True


def network_config(config: VoViTTrainConfig) -> VoViTConfig:
    """The sizes of the first stage that a training asks for.

    Raises:
        UsageError: an unknown override, or a value that the network's config refuses.
    """
    base = VoViTConfig.full("speech-s1") if config.size == "full" else VoViTConfig.demo("speech-s1")
    return with_overrides(base, config.overrides, "overrides")
