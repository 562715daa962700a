"""The settings of VoViT's two trainings. Light: the command line reads them."""

from __future__ import annotations

from dataclasses import dataclass

from avsep.models.vovit.config import VoViTConfig
from avsep.settings import with_overrides
from avsep.training.config import ModelTrainConfig, SizeName


@dataclass(frozen=True, kw_only=True)
class EnhancerTrainConfig(ModelTrainConfig):
    """Training of the second stage on the frozen first one; overrides are the enhancer's.

    Attributes:
        paired: each training mixture is seen twice in a batch, once with each voice as target.
    """

    paired: bool = True


@dataclass(frozen=True, kw_only=True)
class VoViTTrainConfig(ModelTrainConfig):
    """Training of the first stage; `fit.seconds` must be the length of a VoViT clip, 2.

    Attributes:
        size: `demo` (small, for two CPU cores) or `full` (the published sizes).
        paired: each training mixture is seen twice in a batch, once with each voice as target.
    """

    size: SizeName = "demo"
    paired: bool = True


def network_config(config: VoViTTrainConfig) -> VoViTConfig:
    """The sizes of the first stage that a training asks for.

    Raises:
        UsageError: an unknown override, or a value that the network's config refuses.
    """
    base = VoViTConfig.full("speech-s1") if config.size == "full" else VoViTConfig.demo("speech-s1")
    return with_overrides(base, config.overrides, "overrides")
