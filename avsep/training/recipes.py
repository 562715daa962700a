"""What is trained and how, one recipe a model. Light: the command line reads it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

from avsep.loading.augment import AugmentConfig
from avsep.settings import as_values, build
from avsep.training.config import FitSettings

SizeName = Literal["demo", "full"]
C = TypeVar("C")


@dataclass(frozen=True, kw_only=True)
class ModelChoice:
    """Which sizes a model has.

    Attributes:
        size: `demo` (small, for two CPU cores) or `full` (the published sizes).
        overrides: changes to the model's config, nested as it is, e.g. `{channels: 48}`.
    """

    size: SizeName = "demo"
    overrides: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class LipCoderRecipe(ModelChoice):
    """Pretraining of Dolphin's lip encoder; size and overrides are those of the whole Dolphin.

    Attributes:
        fit: see `FitSettings`.
        augment: see `AugmentConfig`.
        recon_weight: of the mean squared error of the rebuilt lips.
        commit_weight: of the distance between the encoder's output and the code it takes.
        distill_weight: of the distance between the mapped codes and the teacher.
        distill: mean squared error, or one minus the cosine.
    """

    recon_weight: float = 1.0
    commit_weight: float = 1.0
    distill_weight: float = 1.0
    distill: Literal["mse", "cosine"] = "mse"
    fit: FitSettings = field(
        default_factory=lambda: FitSettings(steps=200, val_every=50, seconds=1.0)
    )
    augment: AugmentConfig = field(default_factory=lambda: AugmentConfig(crop=True, flip=0.5))


@dataclass(frozen=True, kw_only=True)
class DolphinRecipe(ModelChoice):
    """Training of Dolphin's separator.

    Attributes:
        fit: see `FitSettings`.
        augment: see `AugmentConfig`.
        paired: each training mixture is seen twice in a batch, once with each voice as target.
        level_free: negative SI-SDR as loss instead of negative SNR.
        train_lip_encoder: fit the lip encoder along instead of freezing it.
        cached_looks: keep the frozen lip encoder's features of so many differently cut, mirrored
            and lit looks of each training clip, instead of computing them at each visit; 0 keeps
            none. On a CPU the lip encoder costs as much as a small separator.
    """

    fit: FitSettings = field(default_factory=FitSettings)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    paired: bool = True
    level_free: bool = False
    train_lip_encoder: bool = False
    cached_looks: int = 4

    def __post_init__(self) -> None:
        if self.cached_looks < 0:
            raise ValueError(f"cached_looks is {self.cached_looks}; 0 caches no features.")
        if self.cached_looks and self.train_lip_encoder:
            raise ValueError(
                "cached_looks needs a frozen lip encoder; set one of cached_looks and"
                " train_lip_encoder to 0."
            )


@dataclass(frozen=True, kw_only=True)
class VoViTRecipe(ModelChoice):
    """Training of VoViT's first stage.

    Attributes:
        fit: see `FitSettings`; `seconds` must be the length of a VoViT clip, 2.
        augment: see `AugmentConfig`.
        paired: each training mixture is seen twice in a batch, once with each voice as target.
    """

    fit: FitSettings = field(default_factory=FitSettings)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    paired: bool = True


@dataclass(frozen=True, kw_only=True)
class EnhancerRecipe:
    """Training of VoViT's second stage on the frozen first one.

    Attributes:
        fit: see `FitSettings`.
        augment: see `AugmentConfig`.
        paired: as in `VoViTRecipe`.
        overrides: changes to the enhancer's config, e.g. `{channels: [16, 32]}`.
    """

    fit: FitSettings = field(default_factory=FitSettings)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    paired: bool = True
    overrides: dict[str, Any] = field(default_factory=dict)


def with_overrides(config: C, overrides: Mapping[str, Any], where: str) -> C:
    """A copy of a config with some values changed.

    Args:
        config: a frozen dataclass.
        overrides: nested as the config is.
        where: the place in params.yaml, for the error message.

    Raises:
        UsageError: an unknown key or a value the config refuses.
    """
    return build(type(config), _merged(as_values(config), overrides), where)


def _merged(values: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    result = dict(values)
    for key, change in changes.items():
        old = result.get(key)
        nested = isinstance(old, Mapping) and isinstance(change, Mapping)
        result[key] = _merged(old, change) if nested else change  # type: ignore[arg-type]
    return result
