"""The released weights that can be downloaded by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from avsep.errors import UsageError
from avsep.models.dolphin.released import LICENCE as DOLPHIN_LICENCE
from avsep.models.vovit.released import LICENCE as VOVIT_LICENCE

_DOLPHIN = "https://huggingface.co/JusperLee/Dolphin/resolve/main"
_VOVIT = "https://github.com/JuanFMontesinos/VoViT/releases/download/Speech"
_VOVIT_SOURCE = "https://raw.githubusercontent.com/JuanFMontesinos/VoViT/main/vovit/core"


@dataclass(frozen=True, kw_only=True)
class Part:
    """A file of a release.

    Attributes:
        name: name of the file.
        url: address of the folder that holds it.
        sha256: expected hash; empty where the authors publish none: then the one that the server
            states counts, else that of the first download, which is recorded.
    """

    name: str
    url: str
    sha256: str = ""


@dataclass(frozen=True, kw_only=True)
class Release:
    """Weights that their authors released.

    Attributes:
        title: one line for people.
        terms: what a user has to know before the download.
        parts: files by role: `model`, or `stage1`, `enhancer` and `mean_face`.
    """

    title: str
    terms: str
    parts: Mapping[str, Part]


_STAGE1 = Part(name="vovit_speech.pth", url=_VOVIT)
_ENHANCER = Part(name="refinement_avse_low_latency.pth", url=_VOVIT)
_MEAN_FACE = Part(name="speech_mean_face.npy", url=_VOVIT_SOURCE)

RELEASES: Mapping[str, Release] = MappingProxyType(
    {
        "dolphin": Release(
            title="Dolphin, trained on VoxCeleb2 by its authors (JusperLee/Dolphin)",
            terms=DOLPHIN_LICENCE,
            parts={"model": Part(name="model.safetensors", url=_DOLPHIN)},
        ),
        "vovit": Release(
            title="VoViT for speech, both stages, trained on VoxCeleb2 by its authors",
            terms=VOVIT_LICENCE,
            parts={"stage1": _STAGE1, "enhancer": _ENHANCER, "mean_face": _MEAN_FACE},
        ),
        "vovit-s1": Release(
            title="VoViT for speech, first stage alone",
            terms=VOVIT_LICENCE,
            parts={"stage1": _STAGE1, "mean_face": _MEAN_FACE},
        ),
    }
)


def release(name: str) -> Release:
    """A release by name.

    Raises:
        UsageError: there is none of that name.
    """
    if name not in RELEASES:
        raise UsageError(f"there are no weights {name!r}; there are {', '.join(RELEASES)}.")
    return RELEASES[name]
