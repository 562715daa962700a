"""Finished models on disk: the weights and a card that says what they are.

A model is a directory with `card.json` and `model.safetensors` (or `model.pt`, a weights-only
torch file, where safetensors is not installed). Nothing in them can run code.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pipeline.config import as_values, build
from pipeline.errors import CheckError, UsageError
from pipeline.storage import atomic_path, read_json, sha256_file, write_json

CARD = "card.json"
CARD_VERSION = 1
SAFETENSORS, TORCH_FILE = "model.safetensors", "model.pt"

# Family: module, class of the model, class of its config.
FAMILIES = {
    "dolphin": ("pipeline.models.dolphin", "Dolphin", "DolphinConfig"),
    "vovit": ("pipeline.models.vovit", "VoViT", "VoViTConfig"),
    "lipcoder": ("pipeline.models.dolphin", "LipEncoder", "LipEncoderConfig"),
}


def save(model: nn.Module, directory: Path, card: Mapping[str, Any]) -> dict[str, Any]:
    """Write a model and its card; returns the card.

    The card is written last: a directory with a card is complete.

    Args:
        model: has its frozen config as `config`.
        directory: made if needed.
        card: at least `family`; further JSON-able entries (metrics, licence, source, data) are
            kept as they are.

    Raises:
        ValueError: an unknown family, or a model of another class.
    """
    family = card.get("family")
    if family not in FAMILIES:
        raise ValueError(f"family is {family!r}; it may be {', '.join(FAMILIES)}.")
    if type(model).__name__ != FAMILIES[family][1]:
        raise ValueError(f"a {type(model).__name__} is no {FAMILIES[family][1]} ({family}).")
    directory.mkdir(parents=True, exist_ok=True)
    (directory / CARD).unlink(missing_ok=True)
    state = {name: t.detach().cpu().contiguous() for name, t in model.state_dict().items()}
    name = _write_weights(state, directory)
    full = {
        **card,
        "version": CARD_VERSION,
        "config": as_values(model.config),
        "weights": name,
        "sha256": sha256_file(directory / name),
        "parameters": sum(p.numel() for p in model.parameters()),
    }
    write_json(directory / CARD, full)
    return full


def load(path: Path, device: str | torch.device = "cpu", *, family: str = "") -> nn.Module:
    """Load a model in eval mode; its `card` attribute holds the card.

    Args:
        path: the directory, its card, or the weights file beside it.
        device: where to.
        family: refuse any other family; empty for no wish.

    Raises:
        CheckError: a file is missing, damaged, or does not fit its card.
    """
    directory = path if path.is_dir() else path.parent
    card = read_card(directory, family=family)
    module_name, class_name, config_name = FAMILIES[card["family"]]
    module = importlib.import_module(module_name)
    try:
        config = build(getattr(module, config_name), card["config"], f"{directory / CARD}: config")
        model: nn.Module = getattr(module, class_name)(config)
        model.load_state_dict(read_weights(directory, card), strict=True)
    except (UsageError, RuntimeError) as error:
        raise CheckError(f"{directory} does not fit this version of avsep: {error}") from error
    model.card = card  # type: ignore[assignment]
    return model.to(device).eval()


def read_card(directory: Path, *, family: str = "") -> dict[str, Any]:
    """The card of a model directory.

    Raises:
        CheckError: missing, damaged, of an unknown version, or of another family.
    """
    path = directory / CARD
    if not path.exists():
        raise CheckError(f"{directory} holds no model: {CARD} is missing there.")
    card = read_json(path)
    wanted = {"version", "family", "config", "weights", "sha256"}
    if not isinstance(card, dict) or not wanted <= card.keys():
        raise CheckError(f"{path} is damaged: it lacks some of {', '.join(sorted(wanted))}.")
    if card["version"] != CARD_VERSION or card["family"] not in FAMILIES:
        raise CheckError(
            f"{path} is of version {card['version']!r} and family {card['family']!r}, which this"
            " version of avsep does not know."
        )
    if family and card["family"] != family:
        raise CheckError(f"{directory} holds a {card['family']}, not a {family}.")
    return card


def read_weights(directory: Path, card: Mapping[str, Any]) -> dict[str, Tensor]:
    """The tensors of a model directory, checked against the card's sha256.

    Raises:
        CheckError: missing, changed, or unreadable.
    """
    if card["weights"] not in (SAFETENSORS, TORCH_FILE):
        raise CheckError(f"{directory / CARD} names the weights {card['weights']!r}.")
    path = directory / card["weights"]
    if not path.exists():
        raise CheckError(f"{path} is missing, though {CARD} beside it names it.")
    if sha256_file(path) != card["sha256"]:
        raise CheckError(f"{path} is damaged: its sha256 is not the one in {CARD}.")
    if path.name == TORCH_FILE:
        return torch.load(path, map_location="cpu", weights_only=True)
    if importlib.util.find_spec("safetensors") is None:
        raise CheckError(f"{path} needs the package safetensors: pip install safetensors.")
    from safetensors.torch import load_file

    return load_file(path)


def _write_weights(state: dict[str, Tensor], directory: Path) -> str:
    if importlib.util.find_spec("safetensors") is None:
        with atomic_path(directory / TORCH_FILE) as temporary:
            torch.save(state, temporary)
        return TORCH_FILE
    from safetensors.torch import save_file

    # Two names of one tensor would be refused; clones are written in full.
    with atomic_path(directory / SAFETENSORS) as temporary:
        save_file({name: tensor.clone() for name, tensor in state.items()}, temporary)
        temporary.chmod(0o644)  # safetensors writes for the owner alone
    return SAFETENSORS
