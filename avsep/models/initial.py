"""Weights that a training starts from: those of another model of the same sizes."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from torch import nn

from avsep.errors import CheckError
from avsep.models import checkpoint
from avsep.settings import as_values


def load_initial(path: Path, families: Collection[str]) -> nn.Module:
    """The model that a training starts from, in eval mode.

    Args:
        path: see `checkpoint.load`.
        families: what it may be.

    Raises:
        CheckError: it is missing, damaged or of another family.
    """
    family = checkpoint.read_card(path)["family"]
    if family not in families:
        raise CheckError(
            f"init is {path}, which holds a {family}; this training starts from a"
            f" {' or a '.join(families)}."
        )
    return checkpoint.load(path)


def check_same_sizes(
    path: Path, found: Any, wanted: Any, *, may_differ: Collection[str] = ()
) -> None:
    """Pass when two configs of a network are equal, but for some of their values.

    Args:
        path: where the weights are from, for the error message.
        found: config of the weights.
        wanted: config that the settings ask for.
        may_differ: values that change no weight and nothing that a weight means, such as a dropout;
            nested ones with dots.

    Raises:
        CheckError: names the first difference, with both values.
    """
    theirs, ours = _flat(as_values(found)), _flat(as_values(wanted))
    for name in ours:
        if name not in may_differ and theirs.get(name) != ours[name]:
            raise CheckError(
                f"init is {path}, whose network has {name} {theirs.get(name)}, but size and"
                f" overrides ask for {ours[name]}; set them to those of the weights."
            )


def described(path: Path) -> dict[str, Any]:
    """What the card of a model says about the weights that its training started from.

    Whoever trains on from a model is bound by its licence.
    """
    card = checkpoint.read_card(path)
    init = {"name": path.name, "family": card["family"], "sha256": card["sha256"]}
    licence = {"licence": card["licence"]} if "licence" in card else {}
    return {"init": init | licence, **licence}


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = value
    return flat
