"""Which model, device and settings a command asks for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from avsep.errors import CheckError, UsageError
from avsep.separation.config import SeparateConfig
from avsep.settings import build, read_settings

DEFAULT_MODEL = "dolphin"
DEMO_PARAMETERS = 5_000_000  # every model of the demo size has fewer, every full one more
DEMO_NOTE = (
    "this model was trained on the demo corpus in minutes: it has seen synthetic heads and a few"
    " voices, and will separate real recordings poorly."
)


@dataclass(frozen=True)
class ResolvedModel:
    """A model to load.

    Attributes:
        path: directory of the model, or its .safetensors file.
        note: a warning for people; may be empty.
    """

    path: Path
    note: str


def resolve_model(name: str | None, checkpoint: Path | None, root: Path) -> ResolvedModel:
    """The model at a path, else the one that the project trained, else released weights.

    Args:
        name: dolphin, vovit or vovit-s1; None for any at `checkpoint`, else dolphin.
        checkpoint: a model directory, its card or its weights.
        root: folder of the project.

    Raises:
        UsageError: there is no model at the path.
        CheckError: the model is damaged, has another name, or there are no weights yet.
    """
    from avsep.models.checkpoint import CARD, SAFETENSORS, TORCH_FILE, read_card
    from avsep.models.registry import model_name
    from avsep.weights.store import find

    if checkpoint is None:
        found = find(name or DEFAULT_MODEL, root)
        if found is None:
            raise CheckError(
                f"there are no weights of {name or DEFAULT_MODEL}: train them with `make demo`,"
                " download released ones with `avsep weights get`, or name a model with"
                " --checkpoint."
            )
        path, card = found.path, found.card
    else:
        if not checkpoint.exists():
            raise UsageError(f"{checkpoint} does not exist; name a model folder.")
        parts = (CARD, SAFETENSORS, TORCH_FILE)  # of a model directory
        path = checkpoint.parent if checkpoint.name in parts else checkpoint
        card = read_card(path)
    if name and model_name(card) != name:
        raise CheckError(f"{path} is the model {model_name(card)}, not {name}.")
    return ResolvedModel(path, note_on(card))


def note_on(card: Mapping[str, Any]) -> str:
    """A warning for people about a model, by its card; may be empty."""
    return DEMO_NOTE if int(card.get("parameters", 0)) < DEMO_PARAMETERS else ""


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
    return device
