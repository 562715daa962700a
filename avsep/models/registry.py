"""All models by name: one entry per model, and one folder of this package per family.

A further family is a folder (its network, `config.py`, `train_config.py`, `task.py`, `train.py`,
`adapter.py`) and an entry here. Light: what needs PyTorch is imported when it is asked for, so each
callable below imports and returns a class or a function.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from avsep.models.dolphin.config import DolphinConfig
from avsep.models.dolphin.lip_config import LipEncoderConfig
from avsep.models.dolphin.train_config import DolphinTrainConfig
from avsep.models.vovit.config import VoViTConfig
from avsep.models.vovit.train_config import EnhancerTrainConfig, VoViTTrainConfig
from avsep.training.config import ModelTrainConfig

if TYPE_CHECKING:
    from torch import nn

    from avsep.models.adapter import ModelAdapter
    from avsep.training.task import FitTask


@dataclass(frozen=True, kw_only=True)
class Family:
    """Networks of one architecture.

    Attributes:
        name: `family` of the cards of its models.
        config: class of the network's config.
        network: class of the network; it is made from a config.
        adapter: class that separates a window of a recording, see `ModelAdapter`; None for a
            family that separates nothing.
        import_release: function that makes a model of the authors' files (by role), an output path
            and a variant; None if there are none.
        traceable: class that makes one recordable forward pass of a network, from sound and cues
            to voices; None for a family that separates nothing.
    """

    name: str
    config: type[Any]
    network: Callable[[], type[nn.Module]]
    adapter: Callable[[], type[ModelAdapter]] | None = None
    import_release: Callable[[], Callable[..., dict[str, Any]]] | None = None
    traceable: Callable[[], type[nn.Module]] | None = None


@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """A separator that can be trained and used by name.

    Attributes:
        name: on the command line, in `params.yaml` and as the name of its run.
        title: name for people.
        family: its architecture.
        variant: `variant` of the network's config; empty for a family with one variant.
        train_config: class of its section in `params.yaml`.
        needs: what it builds on: `lipcoder`, or the names of other models.
        version: of its code; increase it when the same settings and inputs give other weights.
        train: function that trains it, given the section, the run's settings, the mixtures, the
            folder of the run, and the folder of each model that it needs; where the section has an
            `init`, the model that this names instead.
    """

    name: str
    title: str
    family: Family
    variant: str = ""
    train_config: type[ModelTrainConfig]
    needs: tuple[str, ...] = ()
    version: int = 1
    train: Callable[[], Callable[..., FitTask]]


def _lip_encoder() -> type[nn.Module]:
    from avsep.models.dolphin.lip_encoder import LipEncoder

    return LipEncoder


def _dolphin() -> type[nn.Module]:
    from avsep.models.dolphin.model import Dolphin

    return Dolphin


def _dolphin_adapter() -> type[ModelAdapter]:
    from avsep.models.dolphin.adapter import DolphinAdapter

    return DolphinAdapter


def _dolphin_release() -> Callable[..., dict[str, Any]]:
    from avsep.models.dolphin.released import import_release

    return import_release


def _dolphin_traceable() -> type[nn.Module]:
    from avsep.models.dolphin.traceable import TraceableDolphin

    return TraceableDolphin


def _dolphin_training() -> Callable[..., FitTask]:
    from avsep.models.dolphin.train import train_dolphin

    return train_dolphin


def _vovit() -> type[nn.Module]:
    from avsep.models.vovit.model import VoViT

    return VoViT


def _vovit_adapter() -> type[ModelAdapter]:
    from avsep.models.vovit.adapter import VoViTAdapter

    return VoViTAdapter


def _vovit_release() -> Callable[..., dict[str, Any]]:
    from avsep.models.vovit.released import import_release

    return import_release


def _vovit_traceable() -> type[nn.Module]:
    from avsep.models.vovit.traceable import TraceableVoViT

    return TraceableVoViT


def _stage1_training() -> Callable[..., FitTask]:
    from avsep.models.vovit.train import train_stage1

    return train_stage1


def _enhancer_training() -> Callable[..., FitTask]:
    from avsep.models.vovit.train import train_enhancer

    return train_enhancer


LIPCODER = Family(name="lipcoder", config=LipEncoderConfig, network=_lip_encoder)
DOLPHIN = Family(
    name="dolphin",
    config=DolphinConfig,
    network=_dolphin,
    adapter=_dolphin_adapter,
    import_release=_dolphin_release,
    traceable=_dolphin_traceable,
)
VOVIT = Family(
    name="vovit",
    config=VoViTConfig,
    network=_vovit,
    adapter=_vovit_adapter,
    import_release=_vovit_release,
    traceable=_vovit_traceable,
)

MODELS: dict[str, ModelSpec] = {
    spec.name: spec
    for spec in (
        ModelSpec(
            name="dolphin",
            title="Dolphin",
            family=DOLPHIN,
            train_config=DolphinTrainConfig,
            needs=(LIPCODER.name,),
            train=_dolphin_training,
        ),
        ModelSpec(
            name="vovit-s1",
            title="VoViT stage 1",
            family=VOVIT,
            variant="speech-s1",
            train_config=VoViTTrainConfig,
            train=_stage1_training,
        ),
        ModelSpec(
            name="vovit",
            title="VoViT",
            family=VOVIT,
            variant="speech",
            train_config=EnhancerTrainConfig,
            needs=("vovit-s1",),
            train=_enhancer_training,
        ),
    )
}


def families() -> dict[str, Family]:
    """All families by name: those of the models, and the lip encoder's."""
    return {family.name: family for family in (LIPCODER, *(s.family for s in MODELS.values()))}


def model_of(card: Mapping[str, Any]) -> ModelSpec | None:
    """The model that a card describes; None for what does not separate speech by itself."""
    for spec in MODELS.values():
        if spec.family.name == card["family"] and spec.variant == card["config"].get("variant", ""):
            return spec
    return None


def model_name(card: Mapping[str, Any]) -> str:
    """The name of the model that a card describes, else its family and variant."""
    if spec := model_of(card):
        return spec.name
    variant = card["config"].get("variant", "")
    return f"{card['family']} ({variant})" if variant else card["family"]
