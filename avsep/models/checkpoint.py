"""Finished models on disk: the weights and a card that says what they are.

A model is a directory with `card.json` and `model.safetensors` (or `model.pt`, a weights-only
torch file, where safetensors is not installed), or a file NAME.safetensors with NAME.json beside
it. Nothing in them can run code.
"""

from __future__ import annotations

import contextlib
import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from avsep.errors import CheckError, UsageError, disk_fault
from avsep.files import atomic_path, read_json, sha256_file, write_json
from avsep.models.registry import families
from avsep.models.tensor_file import read_tensors
from avsep.settings import as_values, build

CARD = "card.json"
CARD_VERSION = 1
SAFETENSORS, TORCH_FILE = "model.safetensors", "model.pt"


def save(model: nn.Module, directory: Path, card: Mapping[str, Any]) -> dict[str, Any]:
    """Write a model and its card into a directory; returns the card.

    The card is written last: a directory with a card is complete.

    Args:
        model: has its frozen config as `config`.
        directory: made if needed.
        card: at least `family`; further JSON-able entries (metrics, licence, source, data) are
            kept as they are.

    Raises:
        ValueError: an unknown family, or a model of another class.
    """
    _check_family(model, card.get("family"))
    directory.mkdir(parents=True, exist_ok=True)
    (directory / CARD).unlink(missing_ok=True)
    return _write(model, directory / _weights_name(), directory / CARD, card)


def save_file(model: nn.Module, path: Path, card: Mapping[str, Any]) -> dict[str, Any]:
    """Write a model to NAME.safetensors and its card to NAME.json beside it; returns the card.

    Args:
        model: as for `save`.
        path: of the weights; neither it nor the card may be there yet. Its folder is made if
            needed. Nothing is left behind if the writing fails.
        card: as for `save`.

    Raises:
        ValueError: an unknown family, or a model of another class.
        UsageError: another suffix, or a file that is there already.
        CheckError: safetensors is not installed, or the file cannot be written.
    """
    _check_family(model, card.get("family"))
    beside = path.with_suffix(".json")
    if path.suffix != ".safetensors":
        raise UsageError(f"{path} must be a .safetensors file.")
    if there := next((p for p in (path, beside) if p.exists()), None):
        raise UsageError(f"{there} is there already; remove it, or give another name.")
    if _weights_name() != SAFETENSORS:
        raise CheckError(f"{path} needs the package safetensors: pip install safetensors.")
    try:
        return _write(model, path, beside, card)
    except BaseException as error:
        with contextlib.suppress(OSError):
            path.unlink()
        if fault := disk_fault(error):
            raise CheckError(f"{path} cannot be written: {fault}.") from error
        if isinstance(error, OSError):
            raise CheckError(f"{path} cannot be written: {error.strerror or error}.") from error
        raise


def _check_family(model: nn.Module, family: Any) -> None:
    known = families()
    if family not in known:
        raise ValueError(f"family is {family!r}; it may be {', '.join(known)}.")
    network = known[family].network()
    if not isinstance(model, network):
        raise ValueError(
            f"the model is a {type(model).__name__}; the family {family} has the class"
            f" {network.__name__}."
        )


def _write(
    model: nn.Module, weights: Path, card_path: Path, card: Mapping[str, Any]
) -> dict[str, Any]:
    state = {name: t.detach().cpu().contiguous() for name, t in model.state_dict().items()}
    _write_weights(state, weights)
    full = {
        **card,
        "version": CARD_VERSION,
        "config": as_values(model.config),
        "weights": weights.name,
        "sha256": sha256_file(weights),
        "parameters": sum(p.numel() for p in model.parameters()),
    }
    write_json(card_path, full)
    return full


def load(path: Path, device: str | torch.device = "cpu", *, family: str = "") -> nn.Module:
    """Load a model in eval mode; its `card` attribute holds the card.

    Args:
        path: the directory, its card, or the weights file beside the card.
        device: where to.
        family: refuse any other family; empty accepts any.

    Raises:
        CheckError: a file is missing, damaged, or does not fit its card.
    """
    card_path = _card_path(path)
    card = read_card(path, family=family)
    family_of_card = families()[card["family"]]
    try:
        config = build(family_of_card.config, card["config"], f"{card_path}: config")
        model = family_of_card.network()(config)
        model.load_state_dict(read_weights(path, card), strict=True)
    except (UsageError, RuntimeError) as error:
        raise CheckError(f"{card_path} does not fit this version of avsep: {error}") from error
    model.card = card  # type: ignore[assignment]
    return model.to(device).eval()


def read_card(path: Path, *, family: str = "") -> dict[str, Any]:
    """The card of a model; `path` as in `load`.

    Raises:
        CheckError: missing, damaged, of an unknown version, or of another family.
    """
    card_path = _card_path(path)
    if not card_path.exists():
        raise CheckError(f"{path} holds no model: {card_path.name} is missing there.")
    card = read_json(card_path)
    wanted = {"version", "family", "config", "weights", "sha256"}
    if not isinstance(card, dict) or not wanted <= card.keys():
        raise CheckError(f"{card_path} is damaged: it lacks some of {', '.join(sorted(wanted))}.")
    if card["version"] != CARD_VERSION or card["family"] not in families():
        raise CheckError(
            f"{card_path} is of version {card['version']!r} and family {card['family']!r}, which"
            " this version of avsep does not know."
        )
    if family and card["family"] != family:
        raise CheckError(f"{path} holds a {card['family']}, not a {family}.")
    return card


def read_weights(path: Path, card: Mapping[str, Any]) -> dict[str, Tensor]:
    """The tensors of a model, checked against the card's sha256; `path` as in `load`.

    Raises:
        CheckError: missing, changed, or unreadable.
    """
    card_path = _card_path(path)
    known = (SAFETENSORS, TORCH_FILE, card_path.with_suffix(".safetensors").name)
    if card["weights"] not in known:
        raise CheckError(f"{card_path} names the weights {card['weights']!r}.")
    weights = card_path.with_name(card["weights"])
    if not weights.exists():
        raise CheckError(f"{weights} is missing, though {card_path.name} beside it names it.")
    if sha256_file(weights) != card["sha256"]:
        raise CheckError(f"{weights} is damaged: its sha256 is not the one in {card_path.name}.")
    try:
        return read_tensors(weights)
    except ValueError as error:
        raise CheckError(str(error)) from error


def _card_path(path: Path) -> Path:
    """Where the card of a directory, a card or a weights file lies."""
    if path.is_dir():
        return path / CARD
    beside = path.with_suffix(".json")
    return beside if beside.exists() else path.parent / CARD


def _weights_name() -> str:
    return TORCH_FILE if importlib.util.find_spec("safetensors") is None else SAFETENSORS


def _write_weights(state: dict[str, Tensor], path: Path) -> None:
    if path.suffix != ".safetensors":
        with atomic_path(path) as temporary, temporary.open("wb") as handle:
            torch.save(state, handle)
        return
    from safetensors.torch import save_file as write_safetensors

    # Two names of one tensor would be refused; clones are written in full.
    with atomic_path(path) as temporary:
        write_safetensors({name: tensor.clone() for name, tensor in state.items()}, temporary)
        temporary.chmod(0o644)  # safetensors writes for the owner alone
