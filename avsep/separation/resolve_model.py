"""Which model, device and settings a command asks for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from avsep.errors import CheckError, UsageError
from avsep.separation.config import SeparateConfig
from avsep.settings import build, read_settings

if TYPE_CHECKING:
    from avsep.weights.store import Found

DEFAULT_MODEL = "dolphin"
SMALL_NOTE = (
    "this model is small; those of full size separate better. If `make demo` trained it, it has"
    " seen only synthetic heads and a few voices, and will separate real recordings poorly."
)
NO_MEAN_FACE = "it was imported without a mean face; import it again with --mean-face."


@dataclass(frozen=True)
class ResolvedModel:
    """A model to load.

    Attributes:
        path: directory of the model, or its .safetensors file.
        note: a warning for people; may be empty.
        choice: what was chosen from several weights, in one sentence; empty where none was.
    """

    path: Path
    note: str
    choice: str = ""


def resolve_model(name: str | None, weights: str | Path | None, root: Path) -> ResolvedModel:
    """The model to use: the weights that are named, else the preferred ones on this machine.

    Args:
        name: dolphin, vovit or vovit-s1; None for any.
        weights: a name of `avsep weights list`, a model directory, its card or its weights; None
            for the first in the order of `avsep.weights.store.installed`.
        root: folder of the project.

    Raises:
        UsageError: there are no weights of the name, or no model at the path.
        CheckError: the model is damaged, is not the one of the name, or there are no weights yet.
    """
    from avsep.models.registry import model_name
    from avsep.weights.store import candidates, lacks_mean_face

    choice = ""
    card: Mapping[str, Any]
    if weights is None:
        found = candidates(name, root)
        if not found:
            raise CheckError(
                f"there are no weights of {name or DEFAULT_MODEL}: train them with `make demo`,"
                " download released ones with `avsep weights get`, or name a model with"
                " --weights."
            )
        path, card = found[0].path, found[0].card
        choice = _choice(found)
    else:
        path, card, choice = _named(weights, root)
    if name and model_name(card) != name:
        raise CheckError(f"{path} is the model {model_name(card)}, not {name}.")
    if lacks_mean_face(card):
        raise CheckError(f"{path} cannot be used: {NO_MEAN_FACE}")
    return ResolvedModel(path, note_on(card), choice)


def _named(weights: str | Path, root: Path) -> tuple[Path, Mapping[str, Any], str]:
    """Path and card of weights that are named, and which of several; a name comes before a path."""
    from avsep.models.checkpoint import CARD, SAFETENSORS, TORCH_FILE, read_card
    from avsep.weights.catalogue import RELEASES
    from avsep.weights.store import find, installed

    text = str(weights)
    if isinstance(weights, str) and (found := find(text, root)):
        others = [one for one in installed(root) if one.name == text and one.path != found.path]
        return found.path, found.card, _choice([found, *others])
    path = Path(weights)
    if not path.exists():
        cure = (
            f"download it with `avsep weights get {text}`"
            if text in RELEASES
            else "name weights of `avsep weights list`, or a model folder"
        )
        raise UsageError(f"{text} does not exist; {cure}.")
    parts = (CARD, SAFETENSORS, TORCH_FILE)  # of a model directory
    path = path.parent if path.name in parts else path
    return path, read_card(path), ""


def _choice(found: Sequence[Found]) -> str:
    """Which of several weights are used, and how to use others."""
    if len(found) < 2:
        return ""
    first, *others = found
    listed = ", ".join(dict.fromkeys(spelt(one) for one in others))
    return f"using {_described(first)}; --weights takes others: {listed}."


def _described(one: Found) -> str:
    if one.kind == "trained":
        return f"the {one.model} that this project trained ({one.path})"
    return f"the imported weights {one.name} ({one.path})"


def spelt(one: Found) -> str:
    """What to give to `--weights` to get exactly these."""
    return one.name if one.kind == "released" else str(one.path)


def note_on(card: Mapping[str, Any]) -> str:
    """A warning for people about a model, by its card; may be empty."""
    from avsep.weights.store import is_small, lacks_mean_face

    if lacks_mean_face(card):
        return NO_MEAN_FACE
    return SMALL_NOTE if is_small(card) else ""


def resolve_settings(path: Path | None, **options: Any) -> SeparateConfig:
    """The settings of a file, if one is given, overridden by the options that are not None.

    Raises:
        UsageError: the file is missing or not YAML, or a setting is wrong.
    """
    values = {} if path is None else read_settings(path)
    given = {name: value for name, value in options.items() if value is not None}
    known = {field.name for field in fields(SeparateConfig)}
    assert given.keys() <= known
    return build(SeparateConfig, {**values, **given}, str(path) if path else "the options")


def resolve_device(device: str, cuda_device: int | None) -> str:
    """The name of a device for PyTorch.

    Args:
        device: `auto`, `cpu`, `cuda`, or `cuda:<n>`.
        cuda_device: number of a GPU, -1 for the CPU; overrides `device`.

    Raises:
        UsageError: this machine has no such device.
    """
    import torch

    if cuda_device is not None:
        device = "cpu" if cuda_device < 0 else f"cuda:{cuda_device}"
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    kind, _, number = device.partition(":")
    if kind == "cpu" and not number:
        return "cpu"
    if kind != "cuda" or (number and not number.isdecimal()):
        raise UsageError(f"device is {device!r}; it may be auto, cpu, cuda or cuda:<n>.")
    if int(number or 0) >= torch.cuda.device_count():
        raise UsageError(
            f"there is no GPU {number or 0} here ({torch.cuda.device_count()} found);"
            " use the CPU with --cuda-device -1."
        )
    torch.cuda.set_device(int(number or 0))  # what names no GPU goes to this one
    return device
